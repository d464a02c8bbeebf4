//! Enumerations whose values are written as words.

/// A value that is one of a few words.
pub(crate) trait Choice {
    /// Takes the value written as `text`; false when there is none.
    fn choose(&mut self, text: &str) -> bool;
    /// The word of the value.
    fn chosen(&self) -> &'static str;
}

/// Defines an enumeration whose values have one written form each, listed once.
macro_rules! choices {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub enum $name { $($(#[$variant_meta])* $variant,)+ }

        impl $name {
            /// The written forms, in the order of the documentation.
            pub const CHOICES: &'static [&'static str] = &[$($text,)+];

            /// The written form.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// The value written as `text`, if there is one.
            #[must_use]
            pub fn from_text(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)+ _ => None }
            }
        }

        impl $crate::choices::Choice for $name {
            fn choose(&mut self, text: &str) -> bool {
                Self::from_text(text).map(|value| *self = value).is_some()
            }

            fn chosen(&self) -> &'static str {
                self.as_str()
            }
        }

        impl $crate::choices::Choice for Option<$name> {
            fn choose(&mut self, text: &str) -> bool {
                $name::from_text(text).map(|value| *self = Some(value)).is_some()
            }

            fn chosen(&self) -> &'static str {
                self.map_or("", $name::as_str)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str(self.as_str())
            }
        }
    };
}

pub(crate) use choices;
