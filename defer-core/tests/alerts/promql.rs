//! Evaluates the part of PromQL that the rules use, over two scrapes that are a minute apart.
//!
//! `rate` and `increase` are those between the two scrapes, without Prometheus's extrapolation, and a quantile is its bucket's upper
//! bound. A series that the first scrape does not have has no increase, as there.

use std::collections::BTreeMap;

/// A sample's labels, with its metric's name as `__name__`.
pub(crate) type Labels = BTreeMap<String, String>;
pub(crate) type Samples = Vec<(Labels, f64)>;

/// How far the scrapes are apart, in seconds.
const APART: f64 = 60.0;

/// Reads what an exporter has rendered.
pub(crate) fn scrape(text: &str) -> Samples {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let mut all = Labels::from([("__name__".to_owned(), name.to_owned())]);
            for label in labels.trim_end_matches('}').split(',').filter(|label| !label.is_empty()) {
                let (key, value) = label.split_once('=').unwrap();
                all.insert(key.to_owned(), value.trim_matches('"').to_owned());
            }
            (all, value.parse().unwrap())
        })
        .collect()
}

/// Returns what an expression is after these two scrapes. An alert fires if that is not empty.
pub(crate) fn evaluate(expression: &str, before: &Samples, now: &Samples) -> Samples {
    let mut parser = Parser { tokens: tokens(expression), at: 0, before, now };
    let value = parser.and();
    assert_eq!(parser.at, parser.tokens.len(), "{expression}");
    value.samples()
}

enum Value {
    Scalar(f64),
    Vector(Samples),
}

impl Value {
    fn samples(self) -> Samples {
        match self {
            Self::Vector(samples) => samples,
            Self::Scalar(_) => panic!("a number is no vector"),
        }
    }
}

fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.');
        let length = match first {
            '"' => rest[1..].find('"').unwrap() + 2,
            c if word(c) => rest.find(|c| !word(c)).unwrap_or(rest.len()),
            _ if ["=~", "==", ">=", "<=", "!="].iter().any(|two| rest.starts_with(two)) => 2,
            _ => 1,
        };
        tokens.push(rest[..length].to_owned());
        rest = rest[length..].trim_start();
    }
    tokens
}

struct Parser<'a> {
    tokens: Vec<String>,
    at: usize,
    before: &'a Samples,
    now: &'a Samples,
}

impl Parser<'_> {
    fn peek(&self) -> &str {
        self.tokens.get(self.at).map_or("", String::as_str)
    }

    fn next(&mut self) -> String {
        self.at += 1;
        self.tokens[self.at - 1].clone()
    }

    fn take(&mut self, token: &str) -> bool {
        let is_next = self.peek() == token;
        self.at += usize::from(is_next);
        is_next
    }

    fn expect(&mut self, token: &str) {
        assert!(self.take(token), "{token} before {:?}", &self.tokens[self.at..]);
    }

    fn and(&mut self) -> Value {
        let mut value = self.comparison();
        while self.take("and") {
            let right = self.comparison().samples();
            let has = |(labels, _): &(Labels, f64)| right.iter().any(|(other, _)| same(labels, other));
            value = Value::Vector(value.samples().into_iter().filter(has).collect());
        }
        value
    }

    fn comparison(&mut self) -> Value {
        let left = self.quotient();
        let holds: fn(&f64, &f64) -> bool = match self.peek() {
            ">" => f64::gt,
            ">=" => f64::ge,
            "==" => f64::eq,
            _ => return left,
        };
        self.at += 1;
        let Value::Scalar(bound) = self.quotient() else { panic!("compared with a vector") };
        Value::Vector(left.samples().into_iter().filter(|(_, value)| holds(value, &bound)).collect())
    }

    fn quotient(&mut self) -> Value {
        let left = self.term();
        if !self.take("/") {
            return left;
        }
        let (left, right) = (left.samples(), self.term().samples());
        let divide = |(labels, value): (Labels, f64)| {
            let (_, by) = right.iter().find(|(other, _)| same(&labels, other))?;
            Some((unnamed(labels), value / by))
        };
        Value::Vector(left.into_iter().filter_map(divide).collect())
    }

    fn term(&mut self) -> Value {
        if let Ok(number) = self.peek().parse() {
            self.at += 1;
            return Value::Scalar(number);
        }
        let name = self.next();
        match &*name {
            "sum" | "max" => {
                let mut by = Vec::new();
                if self.take("by") {
                    self.expect("(");
                    while !self.take(")") {
                        by.push(self.next());
                        self.take(",");
                    }
                }
                let of = self.argument();
                Value::Vector(aggregate(&of, &by, if name == "sum" { |a, b| a + b } else { f64::max }))
            }
            "rate" | "increase" => {
                let per = if name == "rate" { APART } else { 1.0 };
                self.expect("(");
                let name = self.next();
                let matchers = self.matchers();
                self.expect("[");
                self.next();
                self.expect("]");
                self.expect(")");
                let (before, now) =
                    (select(self.before, &name, &matchers), select(self.now, &name, &matchers));
                let grown = |(labels, value): (Labels, f64)| {
                    let (_, before) = before.iter().find(|(other, _)| *other == labels)?;
                    Some((unnamed(labels), (value - before) / per))
                };
                Value::Vector(now.into_iter().filter_map(grown).collect())
            }
            "histogram_quantile" => {
                self.expect("(");
                let part = self.next().parse().unwrap();
                self.expect(",");
                let buckets = self.and().samples();
                self.expect(")");
                Value::Vector(quantile(part, &buckets))
            }
            _ => {
                let matchers = self.matchers();
                Value::Vector(select(self.now, &name, &matchers))
            }
        }
    }

    fn argument(&mut self) -> Samples {
        self.expect("(");
        let of = self.and().samples();
        self.expect(")");
        of
    }

    /// Reads what is in braces: a label, and the values that it may have.
    fn matchers(&mut self) -> Vec<(String, Vec<String>)> {
        let mut matchers = Vec::new();
        if self.take("{") {
            while !self.take("}") {
                let label = self.next();
                let is_pattern = !self.take("=") && self.take("=~");
                let value = self.next().trim_matches('"').to_owned();
                let values =
                    if is_pattern { value.split('|').map(str::to_owned).collect() } else { vec![value] };
                matchers.push((label, values));
                self.take(",");
            }
        }
        matchers
    }
}

fn select(samples: &Samples, name: &str, matchers: &[(String, Vec<String>)]) -> Samples {
    let matches = |labels: &Labels| {
        labels["__name__"] == name
            && matchers
                .iter()
                .all(|(label, values)| labels.get(label).is_some_and(|value| values.contains(value)))
    };
    samples.iter().filter(|(labels, _)| matches(labels)).cloned().collect()
}

fn unnamed(mut labels: Labels) -> Labels {
    labels.remove("__name__");
    labels
}

fn same(a: &Labels, b: &Labels) -> bool {
    unnamed(a.clone()) == unnamed(b.clone())
}

fn aggregate(samples: &Samples, by: &[String], add: impl Fn(f64, f64) -> f64) -> Samples {
    let mut groups: BTreeMap<Labels, f64> = BTreeMap::new();
    for (labels, value) in samples {
        let group = by.iter().filter_map(|label| Some((label.clone(), labels.get(label)?.clone()))).collect();
        groups.entry(group).and_modify(|sum| *sum = add(*sum, *value)).or_insert(*value);
    }
    groups.into_iter().collect()
}

/// The upper bound of the bucket that this part of the observations is in, where Prometheus goes on and interpolates.
fn quantile(part: f64, buckets: &Samples) -> Samples {
    let mut groups: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
    for (labels, count) in buckets {
        let mut labels = labels.clone();
        let bound = labels.remove("le").unwrap().parse().unwrap();
        groups.entry(labels).or_default().push((bound, *count));
    }
    let at = |(labels, mut buckets): (Labels, Vec<(f64, f64)>)| {
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        let wanted = buckets.last()?.1 * part;
        let within = buckets.iter().find(|(_, count)| *count >= wanted && *count > 0.0)?;
        Some((labels, within.0))
    };
    groups.into_iter().filter_map(at).collect()
}
