//! The syntax model of a job function: its arguments are the fields of a struct with its name.

use std::mem;

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote};
use syn::{
    Attribute, Data, DataStruct, DeriveInput, Error, Field, FieldMutability, Fields, FieldsNamed, FnArg,
    Generics, ItemFn, Pat, PatIdent, PatType, Path, Signature, Token, Type, Visibility, parse_quote,
    punctuated::Punctuated, token,
};

use crate::{attr::Errors, job_attr::JobAttribute};

/// The attributes of an argument that stay on it because the compiler reads them. All others move to its field.
const OF_ARGUMENT: [&str; 8] = ["allow", "cfg", "cfg_attr", "deny", "doc", "expect", "forbid", "warn"];

/// A job function.
pub(crate) struct JobFunction {
    /// The function, without the attributes that move to its struct.
    pub(crate) function: ItemFn,
    /// The struct, as input for the derive.
    pub(crate) input: DeriveInput,
    /// The traits that the user lists for the struct, besides `Deferrable`.
    pub(crate) derives: Vec<Path>,
    /// Its last argument is the context.
    pub(crate) has_context: bool,
    /// It cannot be a job, for a reason that an error reports.
    pub(crate) is_refused: bool,
}

impl JobFunction {
    /// Parses the attributes of `#[job(...)]` and the whole function, even after an error.
    pub(crate) fn parse(attribute: TokenStream, mut function: ItemFn, errors: &mut Errors) -> Self {
        let JobAttribute { derives, policy, is_queued } = JobAttribute::parse(attribute, errors);
        let mut mistakes = Errors::default();
        refuse_signature(&function.sig, &mut mistakes);
        let (fields, has_context) = take_fields(&mut function, is_queued, &mut mistakes);
        let is_refused = mistakes.has_any();
        errors.append(mistakes);

        let is_of_struct =
            |attr: &&Attribute| ["doc", "deprecated"].iter().any(|name| attr.path().is_ident(name));
        let mut attrs: Vec<_> = function.attrs.iter().filter(is_of_struct).cloned().collect();
        // Users name the struct, and only the expansion calls the function.
        function.attrs.retain(|attr| !attr.path().is_ident("deprecated"));
        if !policy.is_empty() {
            attrs.push(parse_quote!(#[defer(#policy)]));
        }

        let mut ident = function.sig.ident.clone();
        // Resolved at the expansion, so that lints ignore the name, and shown at the function.
        ident.set_span(Span::call_site().located_at(ident.span()));
        let input = DeriveInput {
            attrs,
            vis: function.vis.clone(),
            generics: Generics::default(),
            data: Data::Struct(DataStruct {
                struct_token: Token![struct](ident.span()),
                fields: Fields::Named(FieldsNamed { brace_token: token::Brace(ident.span()), named: fields }),
                semi_token: None,
            }),
            ident,
        };
        Self { function, input, derives, has_context, is_refused }
    }

    /// Returns the fields of the struct.
    pub(crate) fn fields(&self) -> impl Iterator<Item = &Field> {
        let fields = match &self.input.data {
            Data::Struct(data) => Some(data.fields.iter()),
            Data::Enum(_) | Data::Union(_) => None,
        };
        fields.into_iter().flatten()
    }
}

/// Reports an error at each part of the signature that a job cannot have, or that is missing.
fn refuse_signature(signature: &Signature, errors: &mut Errors) {
    let Signature { constness, asyncness, unsafety, abi, fn_token, generics, variadic, .. } = signature;
    if asyncness.is_none() {
        errors.push(Error::new(
            fn_token.span,
            "a job is an `async fn`, even if it blocks its thread: say that with `#[job(blocking)]`",
        ));
    }
    let others = [
        constness.as_ref().map(|token| quote!(#token)),
        unsafety.as_ref().map(|token| quote!(#token)),
        abi.as_ref().map(|abi| quote!(#abi)),
        variadic.as_ref().map(|variadic| quote!(#variadic)),
    ];
    for other in others.into_iter().flatten() {
        errors.push(Error::new_spanned(other, "a job is a plain `async fn`"));
    }
    let has_no_generics =
        "a job's function has no generics: derive `Deferrable` for a generic struct in its place";
    if !generics.params.is_empty() {
        errors.push(Error::new_spanned(generics, has_no_generics));
    } else if let Some(clause) = &generics.where_clause {
        errors.push(Error::new_spanned(clause, has_no_generics));
    }
}

/// Returns the fields for the arguments, and whether the last argument is the context. Removes the attributes that belong to
/// fields.
fn take_fields(
    function: &mut ItemFn,
    is_queued: bool,
    errors: &mut Errors,
) -> (Punctuated<Field, Token![,]>, bool) {
    let (mut fields, mut has_context) = (Punctuated::new(), false);
    let count = function.sig.inputs.len();
    for (index, argument) in function.sig.inputs.iter_mut().enumerate() {
        let FnArg::Typed(typed) = argument else { continue };
        if !is_context(&typed.ty) {
            // The compiler has already evaluated those of the function itself.
            for cfg in typed.attrs.iter().filter(|attr| attr.path().is_ident("cfg")) {
                errors.push(Error::new_spanned(cfg, "an argument of a job is there in every configuration"));
            }
            let is_of_argument = |attr: &Attribute| OF_ARGUMENT.iter().any(|name| attr.path().is_ident(name));
            let (others, attrs) = mem::take(&mut typed.attrs).into_iter().partition(is_of_argument);
            typed.attrs = others;
            let field = errors.ok(field(typed, attrs, &function.vis, is_queued));
            // The argument still has to count as an argument of `defer`.
            fields.push(field.unwrap_or_else(|| placeholder(index)));
        } else if index + 1 == count {
            has_context = true;
        } else {
            errors.push(Error::new_spanned(&typed.ty, "the context is the last argument"));
        }
    }
    (fields, has_context)
}

/// Returns whether the type is written as `&JobContext`.
fn is_context(ty: &Type) -> bool {
    let Type::Reference(reference) = ty else { return false };
    let Type::Path(path) = &*reference.elem else { return false };
    reference.mutability.is_none() && path.path.segments.last().is_some_and(|last| last.ident == "JobContext")
}

/// Returns the field for an argument.
fn field(argument: &PatType, attrs: Vec<Attribute>, vis: &Visibility, is_queued: bool) -> syn::Result<Field> {
    let Pat::Ident(PatIdent { ident, by_ref: None, subpat: None, .. }) = &*argument.pat else {
        let text = "an argument of a job has a plain name, because it is a field of a struct";
        return Err(Error::new_spanned(&argument.pat, text));
    };
    match &*argument.ty {
        Type::ImplTrait(ty) => Err(Error::new_spanned(
            ty,
            "an argument of a job has a type that can be named: it is a field of a struct",
        )),
        Type::Reference(ty) if ty.lifetime.as_ref().is_none_or(|lifetime| lifetime.ident != "static") => {
            Err(Error::new_spanned(
                ty,
                "a job outlives the request that defers it, so it cannot borrow: take the value (`String` instead of `&str`, \
                 or an `Arc`); only the last argument may be a reference, if that is `&JobContext`",
            ))
        }
        Type::Reference(ty) if is_queued && !attrs.iter().any(|attr| attr.path().is_ident("serde")) => {
            Err(Error::new_spanned(
                ty,
                "a durable job is read from its queue, so it cannot borrow: take the value (`String` instead of `&str`)",
            ))
        }
        ty => Ok(Field {
            attrs,
            vis: vis.clone(),
            mutability: FieldMutability::None,
            ident: Some(ident.clone()),
            colon_token: Some(argument.colon_token),
            ty: ty.clone(),
        }),
    }
}

/// Returns a field to replace an argument that cannot be one.
fn placeholder(index: usize) -> Field {
    Field {
        attrs: Vec::new(),
        vis: Visibility::Inherited,
        mutability: FieldMutability::None,
        ident: Some(format_ident!("arg{index}_")),
        colon_token: None,
        ty: parse_quote!(()),
    }
}
