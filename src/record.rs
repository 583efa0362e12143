//! How the records of the log are defined, a row each, and logged.

/// Defines records: the level, the name, the fields, and the text with the fields in it. Each
/// is a type with `Display`, so the text stands once, and what formats records in another way
/// finds the fields. `ROWS` has the level and text of all, for documents and tests.
#[doc(hidden)]
#[macro_export]
macro_rules! records {
    ($(
        $level:ident $name:ident $(<$life:lifetime>)?
        { $($field:ident: $type:ty),* $(,)? } = $text:literal;
    )+) => {
        $(
            pub(crate) struct $name $(<$life>)? {
                $(pub $field: $type,)*
            }

            impl $(<$life>)? $name $(<$life>)? {
                pub const LEVEL: ::log::Level = ::log::Level::$level;
            }

            impl $(<$life>)? ::std::fmt::Display for $name $(<$life>)? {
                fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                    let Self { $($field),* } = self;
                    ::std::write!(f, $text)
                }
            }
        )+

        /// The level and the text of each record.
        pub const ROWS: &[(::log::Level, &str)] = &[$((::log::Level::$level, $text)),+];
    };
}

/// Logs a record, `record!(records::Connected { peer, open })`, for the module that does so.
/// If its level is off, the fields are not evaluated.
#[doc(hidden)]
#[macro_export]
macro_rules! record {
    (target: $target:expr, $module:ident::$name:ident { $($fields:tt)* }) => {
        ::log::log!(
            target: $target,
            $module::$name::LEVEL,
            "{}",
            $module::$name { $($fields)* }
        )
    };
    ($module:ident::$name:ident { $($fields:tt)* }) => {
        ::log::log!($module::$name::LEVEL, "{}", $module::$name { $($fields)* })
    };
}
