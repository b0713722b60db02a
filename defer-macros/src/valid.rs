//! Rejects types that cannot be jobs. Each error points at the offending token.

use proc_macro2::Span;
use syn::{Data, DeriveInput, Fields, Generics, Type};

use crate::attr::Errors;

/// Returns the fields of a struct. `None` for anything else.
pub(crate) fn struct_fields<'a>(input: &'a DeriveInput, errors: &mut Errors) -> Option<&'a Fields> {
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

/// Reports an error at each lifetime parameter, and at each field that is a reference without a lifetime. Returns whether there
/// were none.
pub(crate) fn is_owned(generics: &Generics, fields: &Fields, errors: &mut Errors) -> bool {
    let lifetimes = generics.lifetimes().map(|param| param.lifetime.span());
    let references = fields.iter().filter_map(|field| match &field.ty {
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
    borrows.is_empty()
}
