//! The syntax model: a checked struct that derives `Deferrable`, with spans.

use proc_macro_crate::{Error, FoundCrate, crate_name};
use proc_macro2::Span;
use quote::format_ident;
use syn::{
    Attribute, DeriveInput, Field, Fields, GenericParam, Generics, Ident, Member, Path, Type, Visibility,
    ext::IdentExt,
};

use crate::{
    attr::{Errors, Policy, StructAttributes, default_attribute},
    valid::{is_owned, struct_fields},
};

const PRIMITIVES: [&str; 16] = [
    "bool", "char", "i8", "i16", "i32", "i64", "i128", "isize", "u8", "u16", "u32", "u64", "u128", "usize",
    "f32", "f64",
];

/// A struct that derives `Deferrable`.
pub(crate) struct JobType<'a> {
    pub(crate) ident: &'a Ident,
    pub(crate) visibility: &'a Visibility,
    pub(crate) generics: &'a Generics,
    pub(crate) shape: Shape,
    pub(crate) fields: Vec<JobField<'a>>,
    pub(crate) name: String,
    pub(crate) aliases: Vec<String>,
    pub(crate) policy: Policy,
    /// It gets `defer` and `try_defer`.
    pub(crate) has_constructor: bool,
    /// The path of `defer-axum` or `defer-core`.
    pub(crate) krate: Path,
    /// The struct or one of its fields is deprecated. The expansion still has to use it.
    pub(crate) is_deprecated: bool,
}

/// The kind of struct.
#[derive(Clone, Copy)]
pub(crate) enum Shape {
    Named,
    Tuple,
    Unit,
}

pub(crate) struct JobField<'a> {
    pub(crate) member: Member,
    pub(crate) ty: &'a Type,
    /// The argument has the field's own type. Other arguments are converted into it.
    pub(crate) is_primitive: bool,
    pub(crate) source: Source,
}

/// Where a field's value comes from.
pub(crate) enum Source {
    /// The argument of `defer` with this name.
    Argument(Ident),
    /// `Default::default()`, requested by the `#[defer(default)]` at this span.
    Default(Span),
}

/// A type that derives `Deferrable` but cannot be a job, for a reason that an error reports.
pub(crate) struct Refused<'a> {
    pub(crate) ident: &'a Ident,
    pub(crate) visibility: &'a Visibility,
    pub(crate) generics: &'a Generics,
    /// The number of arguments that `defer` and `try_defer` would have, if the type would have these functions.
    pub(crate) arguments: Option<usize>,
    /// The path of `defer-axum` or `defer-core`, if found.
    pub(crate) krate: Option<Path>,
}

impl<'a> JobType<'a> {
    /// Turns the type into one that is refused.
    pub(crate) fn into_refused(self) -> Refused<'a> {
        let Self { ident, visibility, generics, fields, has_constructor, krate, .. } = self;
        let arguments = has_constructor.then_some(count_arguments(&fields));
        Refused { ident, visibility, generics, arguments, krate: Some(krate) }
    }

    /// Parses the whole input, even after an error.
    pub(crate) fn parse(input: &'a DeriveInput, errors: &mut Errors) -> Result<Self, Refused<'a>> {
        let attributes = StructAttributes::parse(&input.attrs, errors);
        let krate = attributes.krate.or_else(|| errors.ok(find_crate()));
        let has_constructor = !attributes.no_constructor;
        let refused = |arguments, krate| Refused {
            ident: &input.ident,
            visibility: &input.vis,
            generics: &input.generics,
            arguments: has_constructor.then_some(arguments),
            krate,
        };
        let Some(fields) = struct_fields(input, errors) else { return Err(refused(1, krate)) };
        let shape = match fields {
            Fields::Named(_) => Shape::Named,
            Fields::Unnamed(_) => Shape::Tuple,
            Fields::Unit => Shape::Unit,
        };
        let is_deprecated =
            is_deprecated(&input.attrs) || fields.iter().any(|field| is_deprecated(&field.attrs));
        let job_fields = fields
            .iter()
            .enumerate()
            .map(|(index, field)| JobField::parse(index, field, &input.generics, errors));
        let job_fields: Vec<_> = job_fields.collect();
        if !has_constructor {
            refuse_defaults(&job_fields, errors);
        }
        let is_owned = is_owned(&input.generics, fields, errors);
        let krate = match krate {
            Some(krate) if is_owned => krate,
            krate => {
                return Err(refused(count_arguments(&job_fields), krate));
            }
        };

        Ok(Self {
            ident: &input.ident,
            visibility: &input.vis,
            generics: &input.generics,
            shape,
            fields: job_fields,
            name: attributes.name.unwrap_or_else(|| input.ident.unraw().to_string()),
            aliases: attributes.aliases,
            policy: attributes.policy,
            has_constructor,
            krate,
            is_deprecated,
        })
    }
}

fn count_arguments(fields: &[JobField<'_>]) -> usize {
    fields.iter().filter(|field| matches!(field.source, Source::Argument(_))).count()
}

/// Reports an error at each `#[defer(default)]`, because there are no arguments from which it could remove the field.
fn refuse_defaults(fields: &[JobField<'_>], errors: &mut Errors) {
    for field in fields {
        if let Source::Default(default) = field.source {
            errors.push(syn::Error::new(
                default,
                "`default` leaves a field out of the arguments of `defer`: with `no_constructor` there are none",
            ));
        }
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
        let primitive = primitive(&field.ty);
        Self { member, ty: primitive.unwrap_or(&field.ty), is_primitive: primitive.is_some(), source }
    }
}

/// Returns the type without parentheses, if it is written as a primitive type. With `impl Into<u64>`, the literal `42` would be
/// an `i32`.
fn primitive(ty: &Type) -> Option<&Type> {
    match ty {
        // A `$ty:ty` of a macro.
        Type::Group(group) => primitive(&group.elem),
        Type::Paren(paren) => primitive(&paren.elem),
        Type::Path(path) if path.qself.is_none() => {
            let ident = path.path.get_ident()?;
            PRIMITIVES.iter().any(|name| ident == name).then_some(ty)
        }
        _ => None,
    }
}

fn is_deprecated(attrs: &[Attribute]) -> bool {
    attrs.iter().any(|attr| attr.path().is_ident("deprecated"))
}

/// Returns the name of a field's argument. It differs from the field's name, because a constant, a const parameter or a unit
/// struct with that name would turn the argument into a pattern: hygiene does not distinguish a binding from an item.
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
    // Resolved at the expansion, which lints ignore, and shown at the field.
    argument.set_span(Span::call_site().located_at(span));
    while collides(&argument) {
        argument = format_ident!("{argument}_");
    }
    argument
}

/// Returns the path of `defer-axum` or `defer-core`.
fn find_crate() -> syn::Result<Path> {
    // The tests, examples and doc tests of `defer-axum` and `defer-core` find `Itself`: for them, the crate is a dependency with
    // that name. `crate` would be right in the libraries, but these derive nothing.
    let name = |found, itself: &str| match found {
        FoundCrate::Itself => itself.to_owned(),
        FoundCrate::Name(name) => name,
    };
    let name = crate_name("defer-axum")
        .map(|found| name(found, "defer_axum"))
        .or_else(|_| crate_name("defer-core").map(|found| name(found, "defer_core")));
    let name = match name {
        Ok(name) => name,
        Err(Error::CrateNotFound { .. }) => {
            return Err(syn::Error::new(
                Span::call_site(),
                "this crate does not depend on `defer-axum`: add it, or say where it is re-exported, as in \
                 `#[defer(crate = \"my_framework::defer_axum\")]`",
            ));
        }
        // There may be no `Cargo.toml`.
        Err(_) => "defer_axum".to_owned(),
    };
    let ident = Ident::new(&name, Span::call_site());
    Ok(syn::parse_quote!(::#ident))
}
