use lettre::Address;
use serde::{Deserialize, Serialize};

const LONGEST_NAME: usize = 100;
/// The longest address that an SMTP server must accept (RFC 5321, 4.5.3.1.3, without the brackets).
const LONGEST_EMAIL: usize = 254;

/// The form as it arrives. A missing field is reported like any other mistake.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Form {
    pub(crate) name: Option<String>,
    pub(crate) email: Option<String>,
}

/// A form without mistakes.
#[derive(Clone, Debug)]
pub(crate) struct NewSignUp {
    pub(crate) name: String,
    pub(crate) email: Address,
}

/// The problem, and the field that has it. Without a field, the request itself is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Mistake {
    pub(crate) field: Option<Field>,
    pub(crate) message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Field {
    Name,
    Email,
}

impl Form {
    /// Validates the form. Returns all its mistakes.
    pub(crate) fn check(&self) -> Result<NewSignUp, Vec<Mistake>> {
        let name = check_name(self.name.as_deref());
        let email = check_email(self.email.as_deref());
        match (name, email) {
            (Ok(name), Ok(email)) => Ok(NewSignUp { name, email }),
            (name, email) => Err([
                name.err().map(|message| Field::Name.mistake(message)),
                email.err().map(|message| Field::Email.mistake(message)),
            ]
            .into_iter()
            .flatten()
            .collect()),
        }
    }
}

impl Field {
    pub(crate) fn mistake(self, message: impl Into<String>) -> Mistake {
        Mistake { field: Some(self), message: message.into() }
    }
}

fn check_name(name: Option<&str>) -> Result<String, String> {
    let name = name.ok_or("The field “name” is missing.")?.trim();
    if name.is_empty() {
        return Err("Please enter a name.".to_owned());
    }
    let length = name.chars().count();
    if length > LONGEST_NAME {
        return Err(format!("A name has at most {LONGEST_NAME} characters; this one has {length}."));
    }
    if name.contains(char::is_control) {
        return Err("A name has no line breaks or other control characters.".to_owned());
    }
    Ok(name.to_owned())
}

fn check_email(email: Option<&str>) -> Result<Address, String> {
    let email = email.ok_or("The field “email” is missing.")?.trim();
    if email.is_empty() {
        return Err("Please enter an e-mail address.".to_owned());
    }
    if email.len() > LONGEST_EMAIL {
        return Err(format!("An e-mail address has at most {LONGEST_EMAIL} characters."));
    }
    email
        .parse()
        .ok()
        .filter(|_| !email.contains(char::is_control))
        .ok_or_else(|| "This is not an e-mail address. Enter one such as ada@example.com.".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes(name: Option<&str>, email: Option<&str>) -> Vec<(Field, String)> {
        let form = Form { name: name.map(str::to_owned), email: email.map(str::to_owned) };
        let mistakes = form.check().err().unwrap_or_default();
        mistakes.into_iter().map(|mistake| (mistake.field.unwrap(), mistake.message)).collect()
    }

    #[test]
    fn names_of_people_are_taken() {
        let longest = "é".repeat(100);
        for name in ["Ada", "  Ada  ", "José Ñandú", "李小龍", "O'Brien \"X\" <b>", &longest] {
            assert_eq!(mistakes(Some(name), Some("a@example.com")), []);
        }
    }

    #[test]
    fn a_name_is_neither_missing_nor_empty_nor_long_nor_two_lines() {
        let long = "a".repeat(101);
        for (name, part) in [
            (None, "missing"),
            (Some(""), "enter a name"),
            (Some(" \t "), "enter a name"),
            (Some(&*long), "this one has 101"),
            (Some("Ada\r\nBcc: all@example.com"), "control characters"),
            (Some("Ada\0"), "control characters"),
        ] {
            let mistakes = mistakes(name, Some("a@example.com"));
            assert_eq!(mistakes.len(), 1, "{name:?}");
            assert_eq!(mistakes[0].0, Field::Name);
            assert!(mistakes[0].1.contains(part), "{name:?}: {mistakes:?}");
        }
    }

    #[test]
    fn an_email_is_an_address() {
        let long = format!("a@{}.example", "b.".repeat(200));
        for email in [
            None,
            Some(""),
            Some("ada"),
            Some("ada@"),
            Some("@example.com"),
            Some("a b@example.com"),
            Some("ada@example.com\r\nBcc: all@example.com"),
            Some("ada@example.com, eve@example.com"),
            Some("Ada <ada@example.com>"),
            Some(&*long),
        ] {
            let mistakes = mistakes(Some("Ada"), email);
            assert_eq!(mistakes.len(), 1, "{email:?}");
            assert_eq!(mistakes[0].0, Field::Email);
        }
    }

    #[test]
    fn both_mistakes_are_told_at_once() {
        assert_eq!(mistakes(None, None).len(), 2);
    }
}
