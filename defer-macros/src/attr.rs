//! Parses the `#[defer(...)]` attributes, and reports each mistake at its span.

use std::time::Duration;

use proc_macro2::{Span, TokenStream};
use quote::ToTokens;
use syn::{
    Attribute, Expr, ExprLit, Lit, LitInt, LitStr, Meta, Path, Token, punctuated::Punctuated,
    spanned::Spanned,
};

const STRUCT_KEYS: &str = "`name`, `alias`, `tries`, `backoff`, `timeout`, `on`, `max_running`, `concurrent`, `blocking`, `queue`, `priority`, `batch`, `within`, `at_shutdown`, `no_constructor` and `crate` are allowed on a job, and `derive` in `#[job(...)]`";
const FIELD_KEYS: &str = "only `default` is allowed on a field";
const DURATION: &str = "a number and a unit (ms, s, m, h), as in \"500ms\" or \"2m 30s\"";

/// The attributes of the policy. An attribute that is not set keeps the policy's default.
#[derive(Default)]
pub(crate) struct Policy {
    pub(crate) tries: Option<u32>,
    pub(crate) backoff: Option<Backoff>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) on: Option<On>,
    pub(crate) max_running: Option<u32>,
    pub(crate) concurrent: bool,
    pub(crate) blocking: bool,
    /// The span of `queue`, if it is set.
    pub(crate) queue: Option<Span>,
    pub(crate) priority: Option<i16>,
    pub(crate) at_shutdown: Option<AtShutdown>,
    pub(crate) batch: Option<Batch>,
}

/// The parameters of a batch.
#[derive(Clone, Copy)]
pub(crate) struct Batch {
    pub(crate) size: u32,
    pub(crate) within: Duration,
}

impl Batch {
    const PLACEHOLDER: Self = Self { size: 2, within: Duration::from_secs(1) };
}

#[derive(Clone, Copy)]
pub(crate) struct Backoff {
    pub(crate) min: Duration,
    pub(crate) max: Duration,
}

#[derive(Clone, Copy)]
pub(crate) enum On {
    Always,
    Success,
}

/// When to run a delayed job at a shutdown.
#[derive(Clone, Copy)]
pub(crate) enum AtShutdown {
    Wait,
    RunNow,
}

/// The attributes of a struct.
#[derive(Default)]
pub(crate) struct StructAttributes {
    pub(crate) name: Option<String>,
    /// Earlier names of the type.
    pub(crate) aliases: Vec<String>,
    pub(crate) policy: Policy,
    /// Leaves out `defer` and `try_defer`, because the struct has functions with these names.
    pub(crate) no_constructor: bool,
    pub(crate) krate: Option<Path>,
}

impl StructAttributes {
    pub(crate) fn parse(attrs: &[Attribute], errors: &mut Errors) -> Self {
        let mut attributes = Self::default();
        let entries = distinct_entries(attrs, errors);
        for entry in &entries {
            errors.ok(attributes.set(entry));
        }
        // Even with a mistake in its attributes, the job counts as one that runs in batches.
        attributes.policy.batch = errors.ok(batch(&entries)).unwrap_or(Some(Batch::PLACEHOLDER));
        attributes
    }

    fn set(&mut self, entry: &Meta) -> syn::Result<()> {
        match key(entry).as_str() {
            "name" => self.name = Some(name(entry, "name")?),
            "alias" => self.aliases.push(name(entry, "alias")?),
            "tries" => {
                let zero = "a job is tried at least once: expected `tries = 1` or more";
                self.policy.tries = Some(number(entry, 1, "tries = 3", zero)?);
            }
            "backoff" => self.policy.backoff = Some(backoff(entry)?),
            "timeout" => self.policy.timeout = Some(one_duration(entry, "timeout = \"10s\"")?),
            "on" => self.policy.on = Some(on(entry)?),
            "max_running" => {
                let zero = "with 0 no job of the type would ever run: expected `max_running = 1` or more";
                self.policy.max_running = Some(number(entry, 1, "max_running = 4", zero)?);
            }
            "concurrent" => {
                flag(entry)?;
                self.policy.concurrent = true;
            }
            "blocking" => {
                flag(entry)?;
                self.policy.blocking = true;
            }
            "queue" => {
                flag(entry)?;
                self.policy.queue = Some(entry.path().span());
            }
            "priority" => self.policy.priority = Some(priority(entry)?),
            // Parsed together: see `batch`.
            "batch" | "within" => {}
            "at_shutdown" => self.policy.at_shutdown = Some(at_shutdown(entry)?),
            "no_constructor" => {
                flag(entry)?;
                self.no_constructor = true;
            }
            "crate" => self.krate = Some(krate(entry)?),
            "default" => {
                return Err(syn::Error::new_spanned(
                    entry.path(),
                    "`default` belongs on a field: it leaves that field out of the arguments",
                ));
            }
            unknown => {
                return Err(syn::Error::new_spanned(
                    entry.path(),
                    format!("unknown key `{unknown}`: {STRUCT_KEYS}"),
                ));
            }
        }
        Ok(())
    }
}

/// Returns the span of the field's `#[defer(default)]`, if it has one.
pub(crate) fn default_attribute(attrs: &[Attribute], errors: &mut Errors) -> Option<Span> {
    let mut default = None;
    for entry in distinct_entries(attrs, errors) {
        match key(&entry).as_str() {
            "default" => {
                errors.ok(flag(&entry));
                default = Some(entry.path().span());
            }
            other => errors.push(syn::Error::new_spanned(
                entry.path(),
                format!("`{other}` is not allowed here: {FIELD_KEYS}"),
            )),
        }
    }
    default
}

/// Returns the entries of all `#[defer(...)]` attributes. A repeated key is an error.
fn distinct_entries(attrs: &[Attribute], errors: &mut Errors) -> Vec<Meta> {
    let mut entries: Vec<Meta> = Vec::new();
    for attr in attrs.iter().filter(|attr| attr.path().is_ident("defer")) {
        let list = attr.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated);
        for entry in errors.ok(list).into_iter().flatten() {
            // A type may have had several earlier names.
            if key(&entry) != "alias" && entries.iter().any(|earlier| key(earlier) == key(&entry)) {
                let key = key(&entry);
                errors.push(syn::Error::new_spanned(
                    entry.path(),
                    format!("duplicate key `{key}`: it is allowed once"),
                ));
            } else {
                entries.push(entry);
            }
        }
    }
    entries
}

fn key(entry: &Meta) -> String {
    entry.path().to_token_stream().to_string().replace(' ', "")
}

// One function for each key. An error points at the value, or at the key if it has no value.

fn name(entry: &Meta, key: &str) -> syn::Result<String> {
    let expected = format!("expected a name in quotes, as in `{key} = \"send-welcome\"`");
    let name = string(entry, &expected)?;
    if name.value().trim().is_empty() {
        return Err(syn::Error::new_spanned(name, "a job's name cannot be empty"));
    }
    Ok(name.value())
}

fn number(entry: &Meta, least: u32, example: &str, too_few: &str) -> syn::Result<u32> {
    let expected = format!("expected a whole number from {least} to 4294967295, as in `{example}`");
    refuse_constant(entry, &expected)?;
    let number: &LitInt = match literal(entry, &expected)? {
        Lit::Int(number) if matches!(number.suffix(), "" | "u32") => number,
        other => return Err(syn::Error::new_spanned(other, expected)),
    };
    match number.base10_parse() {
        Ok(few) if few < least => Err(syn::Error::new_spanned(number, too_few)),
        Ok(number) => Ok(number),
        Err(_) => Err(syn::Error::new_spanned(number, expected)),
    }
}

fn backoff(entry: &Meta) -> syn::Result<Backoff> {
    let expected =
        "expected one duration or two in quotes, as in `backoff = \"1s\"` or `backoff = \"500ms..30s\"`";
    refuse_constant(entry, expected)?;
    let text = string(entry, expected)?;
    let value = text.value();
    let backoff = match value.split_once("..") {
        Some((min, max)) => Backoff { min: duration(text, min)?, max: duration(text, max)? },
        None => {
            let constant = duration(text, &value)?;
            Backoff { min: constant, max: constant }
        }
    };
    if backoff.min > backoff.max {
        return Err(syn::Error::new_spanned(
            text,
            "the longest wait is shorter than the first: expected the shorter duration before the `..`",
        ));
    }
    Ok(backoff)
}

fn one_duration(entry: &Meta, example: &str) -> syn::Result<Duration> {
    let expected = format!("expected a duration in quotes, as in `{example}`");
    refuse_constant(entry, &expected)?;
    let text = string(entry, &expected)?;
    duration(text, &text.value())
}

fn on(entry: &Meta) -> syn::Result<On> {
    let expected = "expected `on = \"always\"` or `on = \"success\"`";
    let on = string(entry, expected)?;
    match on.value().as_str() {
        "always" => Ok(On::Always),
        "success" => Ok(On::Success),
        _ => Err(syn::Error::new_spanned(on, expected)),
    }
}

fn at_shutdown(entry: &Meta) -> syn::Result<AtShutdown> {
    let expected = "expected `at_shutdown = \"wait\"` or `at_shutdown = \"run_now\"`";
    let at_shutdown = string(entry, expected)?;
    match at_shutdown.value().as_str() {
        "wait" => Ok(AtShutdown::Wait),
        "run_now" => Ok(AtShutdown::RunNow),
        _ => Err(syn::Error::new_spanned(at_shutdown, expected)),
    }
}

/// Returns the parameters of batches, if the attributes set them. `batch` and `within` need each other.
fn batch(entries: &[Meta]) -> syn::Result<Option<Batch>> {
    let entry = |name: &str| entries.iter().find(|entry| key(entry) == name);
    let (size, within) = match (entry("batch"), entry("within")) {
        (None, None) => return Ok(None),
        (Some(size), Some(within)) => (size, within),
        (Some(size), None) => {
            return Err(syn::Error::new_spanned(
                size.path(),
                "how long may a job wait until its batch is full? Add that, as in `within = \"500ms\"`",
            ));
        }
        (None, Some(within)) => {
            return Err(syn::Error::new_spanned(
                within.path(),
                "`within` says how long a job waits for its batch: add how large that is, as in `batch = 50`",
            ));
        }
    };
    if let Some(blocking) = entry("blocking") {
        return Err(syn::Error::new_spanned(
            blocking.path(),
            "a batch runs on the runtime: leave `blocking` out, and use `tokio::task::spawn_blocking` in its `run`",
        ));
    }
    let too_few = "a batch of one is a job by itself: expected `batch = 2` or more, or no `batch`";
    let size = number(size, 2, "batch = 50", too_few)?;
    Ok(Some(Batch { size, within: one_duration(within, "within = \"500ms\"")? }))
}

fn flag(entry: &Meta) -> syn::Result<()> {
    let key = key(entry);
    let value = match entry {
        Meta::Path(_) => return Ok(()),
        Meta::List(list) => list.to_token_stream(),
        Meta::NameValue(pair) => pair.value.to_token_stream(),
    };
    Err(syn::Error::new_spanned(value, format!("`{key}` takes no value: expected `{key}` alone")))
}

fn priority(entry: &Meta) -> syn::Result<i16> {
    let expected = "expected a whole number from -32768 to 32767, as in `priority = 10`";
    refuse_constant(entry, expected)?;
    let Meta::NameValue(pair) = entry else {
        return Err(syn::Error::new_spanned(entry, expected));
    };
    // In a literal, a negative number is one token. In an expression, it is an operator and a literal.
    let number = syn::parse2::<LitInt>(pair.value.to_token_stream()).ok();
    let number = number.filter(|number| matches!(number.suffix(), "" | "i16"));
    let priority = number.and_then(|number| number.base10_parse().ok());
    priority.ok_or_else(|| syn::Error::new_spanned(&pair.value, expected))
}

fn krate(entry: &Meta) -> syn::Result<Path> {
    let expected = "expected a path in quotes, as in `crate = \"my_framework::defer\"`";
    let path = string(entry, expected)?;
    path.parse_with(Path::parse_mod_style).map_err(|_| syn::Error::new_spanned(path, expected))
}

fn duration(literal: &LitStr, text: &str) -> syn::Result<Duration> {
    let text = text.trim();
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err(syn::Error::new_spanned(literal, "expected a duration longer than zero")),
        Ok(duration) => Ok(duration),
        Err(_) if text.is_empty() => {
            Err(syn::Error::new_spanned(literal, format!("a duration is missing: expected {DURATION}")))
        }
        Err(_) => {
            Err(syn::Error::new_spanned(literal, format!("`{text}` is not a duration: expected {DURATION}")))
        }
    }
}

/// Returns an error if the value is a constant or an expression to be computed.
fn refuse_constant(entry: &Meta, expected: &str) -> syn::Result<()> {
    let Meta::NameValue(pair) = entry else { return Ok(()) };
    match ungrouped(&pair.value) {
        Expr::Path(_) | Expr::Call(_) | Expr::MethodCall(_) | Expr::Binary(_) | Expr::Cast(_) => {
            Err(syn::Error::new_spanned(
                &pair.value,
                format!(
                    "a literal is needed, because attributes are read before constants have values: {expected}"
                ),
            ))
        }
        _ => Ok(()),
    }
}

fn string<'m>(entry: &'m Meta, expected: &str) -> syn::Result<&'m LitStr> {
    match literal(entry, expected)? {
        Lit::Str(string) => Ok(string),
        other => Err(syn::Error::new_spanned(other, expected)),
    }
}

fn literal<'m>(entry: &'m Meta, expected: &str) -> syn::Result<&'m Lit> {
    let Meta::NameValue(pair) = entry else {
        return Err(syn::Error::new_spanned(entry, expected));
    };
    match ungrouped(&pair.value) {
        Expr::Lit(ExprLit { lit, .. }) => Ok(lit),
        other => Err(syn::Error::new_spanned(other, expected)),
    }
}

/// Returns the expression without the groups in which `macro_rules!` wraps `$value:expr`.
fn ungrouped(mut value: &Expr) -> &Expr {
    while let Expr::Group(group) = value {
        value = &group.expr;
    }
    value
}

/// Collects the errors of one input, to report them together.
#[derive(Default)]
pub(crate) struct Errors(Option<syn::Error>);

impl Errors {
    pub(crate) fn push(&mut self, error: syn::Error) {
        match &mut self.0 {
            Some(errors) => errors.combine(error),
            None => self.0 = Some(error),
        }
    }

    /// Records an error, if there is one, and returns the value otherwise.
    pub(crate) fn ok<T>(&mut self, result: syn::Result<T>) -> Option<T> {
        result.map_err(|error| self.push(error)).ok()
    }

    pub(crate) fn has_any(&self) -> bool {
        self.0.is_some()
    }

    pub(crate) fn append(&mut self, others: Self) {
        if let Some(others) = others.0 {
            self.push(others);
        }
    }

    pub(crate) fn into_compile_errors(self) -> TokenStream {
        self.0.map(syn::Error::into_compile_error).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use quote::quote;
    use syn::parse_quote;

    use super::*;

    /// Returns the policy that the attributes set, or the error message.
    fn policy(attribute: Attribute) -> Result<Policy, String> {
        let mut errors = Errors::default();
        let attributes = StructAttributes::parse(&[attribute], &mut errors);
        match errors.0 {
            None => Ok(attributes.policy),
            Some(error) => Err(error.to_string()),
        }
    }

    /// A duration, something close to one, or any text.
    fn texts() -> impl Strategy<Value = String> {
        prop_oneof![
            ".*",
            "[0-9]{1,25} ?(ns|us|ms|s|sec|m|min|h|d|w|M|y|x)?",
            "([0-9]{1,3}(ms|s|m|h|d) ?){1,3}",
            "[ 0-9a-z.]{0,20}",
        ]
    }

    fn durations() -> impl Strategy<Value = Duration> {
        (0..1_000_000_000_000_u64, 0..1_000_000_000_u32)
            .prop_map(|(seconds, nanos)| Duration::new(seconds, nanos))
            .prop_filter("longer than zero", |duration| !duration.is_zero())
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_text_is_a_timeout_longer_than_zero_or_an_error_that_says_what_is_expected(text in texts()) {
            match policy(parse_quote!(#[defer(timeout = #text)])) {
                Ok(policy) => prop_assert!(policy.timeout.is_some_and(|timeout| !timeout.is_zero())),
                Err(error) => prop_assert!(error.contains("expected a"), "{}", error),
            }
        }

        #[test]
        fn any_two_texts_are_a_backoff_that_does_not_shrink_or_an_error(one in texts(), other in texts()) {
            let text = format!("{one}..{other}");
            match policy(parse_quote!(#[defer(backoff = #text)])) {
                Ok(Policy { backoff: Some(Backoff { min, max }), .. }) => {
                    prop_assert!(Duration::ZERO < min && min <= max);
                }
                Ok(_) => prop_assert!(false, "neither a backoff nor an error: {}", text),
                Err(error) => prop_assert!(error.contains("expected"), "{}", error),
            }
        }

        #[test]
        fn a_duration_is_read_as_it_is_written(one in durations(), other in durations()) {
            let (min, max) = (one.min(other), one.max(other));
            let written = |duration| humantime::format_duration(duration).to_string();
            let (timeout, backoff) = (written(one), format!("{} .. {}", written(min), written(max)));
            let policy = policy(parse_quote!(#[defer(timeout = #timeout, backoff = #backoff)])).unwrap();
            prop_assert_eq!(policy.timeout, Some(one));
            prop_assert_eq!(policy.backoff.map(|backoff| (backoff.min, backoff.max)), Some((min, max)));
        }

        #[test]
        fn any_attribute_is_understood_or_an_error(text in "[a-z_]{1,12}( ?= ?([0-9]{1,12}|\"[a-z0-9.]{0,9}\"))?(, ?[a-z]{1,9})?") {
            let Ok(entries) = text.parse::<TokenStream>() else { return Ok(()) };
            let attribute: Attribute = parse_quote!(#[defer(#entries)]);
            let known = ["name", "alias", "tries", "backoff", "timeout", "on", "max_running", "concurrent", "blocking"];
            let is_known = known.iter().chain(&["queue", "priority", "batch", "within", "at_shutdown", "no_constructor", "crate"]).any(|key| text.starts_with(key));
            prop_assert!(policy(attribute).is_err() || is_known, "{}", quote!(#entries));
        }
    }
}
