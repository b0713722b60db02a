//! The syntax model: what a struct and its `#[defer(...)]` attributes say, checked, with spans.

use std::time::Duration;

use proc_macro_crate::{FoundCrate, crate_name};
use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident};
use syn::{
    Attribute, Data, DeriveInput, Expr, ExprLit, Field, Fields, GenericParam, Generics, Ident, Lit, LitInt,
    LitStr, Member, Meta, Path, Token, Type, Visibility, ext::IdentExt, punctuated::Punctuated,
    spanned::Spanned,
};

const STRUCT_KEYS: &str =
    "`name`, `tries`, `backoff`, `timeout`, `on`, `blocking`, `queue` and `crate` are allowed on a struct";
const FIELD_KEYS: &str = "only `default` is allowed on a field";
const DURATION: &str = "a number and a unit (ms, s, m, h), as in \"500ms\" or \"2m 30s\"";

/// A struct that derives `Deferrable`.
pub(crate) struct JobType<'a> {
    pub(crate) ident: &'a Ident,
    pub(crate) visibility: &'a Visibility,
    pub(crate) generics: &'a Generics,
    pub(crate) shape: Shape,
    pub(crate) fields: Vec<JobField<'a>>,
    pub(crate) name: String,
    pub(crate) policy: Policy,
    /// The path of `defer-axum` or `defer-core`.
    pub(crate) krate: Path,
    /// The struct or one of its fields is deprecated, and the expansion uses it all the same.
    pub(crate) is_deprecated: bool,
}

/// How the struct is written.
#[derive(Clone, Copy)]
pub(crate) enum Shape {
    Named,
    Tuple,
    Unit,
}

pub(crate) struct JobField<'a> {
    pub(crate) member: Member,
    pub(crate) ty: &'a Type,
    pub(crate) source: Source,
}

/// Where a field's value comes from.
pub(crate) enum Source {
    /// This argument of `defer`.
    Argument(Ident),
    /// `Default::default()`, as `#[defer(default)]` at this place says.
    Default(Span),
}

/// What the attributes say of the job's policy; what they leave out stays the policy's default.
#[derive(Default)]
pub(crate) struct Policy {
    pub(crate) tries: Option<u32>,
    pub(crate) backoff: Option<Backoff>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) on: Option<On>,
    pub(crate) blocking: bool,
    /// Where it says `queue`, if it does.
    pub(crate) queue: Option<Span>,
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

impl<'a> JobType<'a> {
    /// Reads the whole input, also after an error. `None` if it has a shape that cannot be a job.
    pub(crate) fn parse(input: &'a DeriveInput, errors: &mut Errors) -> Option<Self> {
        let attributes = StructAttributes::parse(&input.attrs, errors);
        let fields = struct_fields(input, errors)?;
        let shape = match fields {
            Fields::Named(_) => Shape::Named,
            Fields::Unnamed(_) => Shape::Tuple,
            Fields::Unit => Shape::Unit,
        };
        let is_deprecated =
            is_deprecated(&input.attrs) || fields.iter().any(|field| is_deprecated(&field.attrs));
        let fields = fields
            .iter()
            .enumerate()
            .map(|(index, field)| JobField::parse(index, field, &input.generics, errors));
        let fields: Vec<JobField<'_>> = fields.collect();
        check_owned(&input.generics, &fields, errors)?;

        Some(Self {
            ident: &input.ident,
            visibility: &input.vis,
            generics: &input.generics,
            shape,
            fields,
            name: attributes.name.unwrap_or_else(|| input.ident.unraw().to_string()),
            policy: attributes.policy,
            krate: attributes.krate.unwrap_or_else(find_crate),
            is_deprecated,
        })
    }
}

impl<'a> JobField<'a> {
    fn parse(index: usize, field: &'a Field, generics: &Generics, errors: &mut Errors) -> Self {
        let member = match &field.ident {
            Some(ident) => Member::from(ident.clone()),
            None => Member::from(index),
        };
        let source = match default_attribute(&field.attrs, errors) {
            Some(default) => Source::Default(default),
            None => Source::Argument(argument(&member, generics)),
        };
        Self { member, ty: &field.ty, source }
    }
}

/// All the errors of one input, reported together.
#[derive(Default)]
pub(crate) struct Errors(Option<syn::Error>);

impl Errors {
    fn push(&mut self, error: syn::Error) {
        match &mut self.0 {
            Some(errors) => errors.combine(error),
            None => self.0 = Some(error),
        }
    }

    /// Notes the error, if there is one, and goes on without the value.
    fn ok<T>(&mut self, result: syn::Result<T>) -> Option<T> {
        result.map_err(|error| self.push(error)).ok()
    }

    pub(crate) fn into_compile_errors(self) -> TokenStream {
        self.0.map(syn::Error::into_compile_error).unwrap_or_default()
    }
}

#[derive(Default)]
struct StructAttributes {
    name: Option<String>,
    policy: Policy,
    krate: Option<Path>,
}

impl StructAttributes {
    fn parse(attrs: &[Attribute], errors: &mut Errors) -> Self {
        let mut attributes = Self::default();
        for entry in distinct_entries(attrs, errors) {
            errors.ok(attributes.set(&entry));
        }
        attributes
    }

    fn set(&mut self, entry: &Meta) -> syn::Result<()> {
        match key(entry).as_str() {
            "name" => self.name = Some(name(entry)?),
            "tries" => self.policy.tries = Some(tries(entry)?),
            "backoff" => self.policy.backoff = Some(backoff(entry)?),
            "timeout" => self.policy.timeout = Some(timeout(entry)?),
            "on" => self.policy.on = Some(on(entry)?),
            "blocking" => {
                flag(entry)?;
                self.policy.blocking = true;
            }
            "queue" => {
                flag(entry)?;
                self.policy.queue = Some(entry.path().span());
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

/// Where the field says `#[defer(default)]`, if it does.
fn default_attribute(attrs: &[Attribute], errors: &mut Errors) -> Option<Span> {
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

/// The entries of all `#[defer(...)]` attributes, without those whose key has been there before.
fn distinct_entries(attrs: &[Attribute], errors: &mut Errors) -> Vec<Meta> {
    let mut entries: Vec<Meta> = Vec::new();
    for attr in attrs.iter().filter(|attr| attr.path().is_ident("defer")) {
        let list = attr.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated);
        for entry in errors.ok(list).into_iter().flatten() {
            if entries.iter().any(|earlier| key(earlier) == key(&entry)) {
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

// One function per kind of value. Each error points at the value, or at the key if there is none.

fn name(entry: &Meta) -> syn::Result<String> {
    let expected = "expected a name in quotes, as in `name = \"send-welcome\"`";
    let name = string(entry, expected)?;
    if name.value().trim().is_empty() {
        return Err(syn::Error::new_spanned(name, "a job's name cannot be empty"));
    }
    Ok(name.value())
}

fn tries(entry: &Meta) -> syn::Result<u32> {
    let expected = "expected a whole number from 1 to 4294967295, as in `tries = 3`";
    let tries: &LitInt = match literal(entry, expected)? {
        Lit::Int(tries) if matches!(tries.suffix(), "" | "u32") => tries,
        other => return Err(syn::Error::new_spanned(other, expected)),
    };
    match tries.base10_parse() {
        Ok(0) => {
            Err(syn::Error::new_spanned(tries, "a job is tried at least once: expected `tries = 1` or more"))
        }
        Ok(tries) => Ok(tries),
        Err(_) => Err(syn::Error::new_spanned(tries, expected)),
    }
}

fn backoff(entry: &Meta) -> syn::Result<Backoff> {
    let expected =
        "expected one duration or two in quotes, as in `backoff = \"1s\"` or `backoff = \"500ms..30s\"`";
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

fn timeout(entry: &Meta) -> syn::Result<Duration> {
    let text = string(entry, "expected a duration in quotes, as in `timeout = \"10s\"`")?;
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

fn flag(entry: &Meta) -> syn::Result<()> {
    let key = key(entry);
    let value = match entry {
        Meta::Path(_) => return Ok(()),
        Meta::List(list) => list.to_token_stream(),
        Meta::NameValue(pair) => pair.value.to_token_stream(),
    };
    Err(syn::Error::new_spanned(value, format!("`{key}` takes no value: expected `{key}` alone")))
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
    let mut value = &pair.value;
    // What a `macro_rules!` passes on as `$value:expr`.
    while let Expr::Group(group) = value {
        value = &group.expr;
    }
    match value {
        Expr::Lit(ExprLit { lit, .. }) => Ok(lit),
        other => Err(syn::Error::new_spanned(other, expected)),
    }
}

fn is_deprecated(attrs: &[Attribute]) -> bool {
    attrs.iter().any(|attr| attr.path().is_ident("deprecated"))
}

fn struct_fields<'a>(input: &'a DeriveInput, errors: &mut Errors) -> Option<&'a Fields> {
    let (token, kind) = match &input.data {
        Data::Struct(data) => return Some(&data.fields),
        Data::Enum(data) => (data.enum_token.span, "enum"),
        Data::Union(data) => (data.union_token.span, "union"),
    };
    let ident = &input.ident;
    errors.push(syn::Error::new(
        token,
        format!("only a struct can be a job: wrap the {kind} in one, as in `struct {ident}Job({ident});`"),
    ));
    None
}

/// An error at each lifetime parameter, and at each field that is a reference and lacks one.
/// `None` if there is any.
fn check_owned(generics: &Generics, fields: &[JobField<'_>], errors: &mut Errors) -> Option<()> {
    let lifetimes = generics.lifetimes().map(|param| param.lifetime.span());
    let references = fields.iter().filter_map(|field| match field.ty {
        Type::Reference(reference) if reference.lifetime.is_none() => Some(reference.and_token.span),
        _ => None,
    });
    let borrows: Vec<Span> = lifetimes.chain(references).collect();
    for borrow in &borrows {
        errors.push(syn::Error::new(
            *borrow,
            "a job outlives the request that defers it, so it cannot borrow: \
             own the data (`String` instead of `&str`, or an `Arc`)",
        ));
    }
    borrows.is_empty().then_some(())
}

/// The name of a field's argument. Not the field's own: a constant or a unit struct of that name, somewhere in scope,
/// would make the argument a pattern, and hygiene does not tell a binding from an item. A const parameter would too.
fn argument(member: &Member, generics: &Generics) -> Ident {
    let collides = |ident: &Ident| {
        generics.params.iter().any(|param| match param {
            GenericParam::Const(param) => param.ident == *ident,
            GenericParam::Type(_) | GenericParam::Lifetime(_) => false,
        })
    };
    let (mut argument, span) = match member {
        Member::Named(ident) => (format_ident!("{}_", ident.unraw()), ident.span()),
        Member::Unnamed(index) => (format_ident!("arg{}_", index.index), index.span),
    };
    // The expansion's own, which lints leave alone, and shown at the field.
    argument.set_span(Span::call_site().located_at(span));
    while collides(&argument) {
        argument = format_ident!("{argument}_");
    }
    argument
}

fn find_crate() -> Path {
    // `Itself` is what a crate's own tests, examples and doc tests find, for which it is a crate of that name. (The crate
    // itself derives nothing.)
    let name = |found, itself: &str| match found {
        FoundCrate::Itself => itself.to_owned(),
        FoundCrate::Name(name) => name,
    };
    let name = crate_name("defer-axum")
        .map(|found| name(found, "defer_axum"))
        .or_else(|_| crate_name("defer-core").map(|found| name(found, "defer_core")))
        .unwrap_or_else(|_| "defer_axum".to_owned());
    let ident = Ident::new(&name, Span::call_site());
    syn::parse_quote!(::#ident)
}
