//! How domain types become columns.

/// Stores a domain type as TEXT on either database, with no look-up of a type on PostgreSQL. The type must offer
/// `as_str` and `FromStr`.
macro_rules! text_column {
    ($($ty:ty),+ $(,)?) => { $(
        impl<DB: sqlx::Database> sqlx::Type<DB> for $ty
        where
            str: sqlx::Type<DB>,
        {
            fn type_info() -> DB::TypeInfo {
                <str as sqlx::Type<DB>>::type_info()
            }
            fn compatible(ty: &DB::TypeInfo) -> bool {
                <str as sqlx::Type<DB>>::compatible(ty)
            }
        }
        impl<'q, DB: sqlx::Database> sqlx::Encode<'q, DB> for $ty
        where
            String: sqlx::Encode<'q, DB>,
        {
            fn encode_by_ref(
                &self,
                buffer: &mut DB::ArgumentBuffer,
            ) -> Result<sqlx::encode::IsNull, sqlx::error::BoxDynError> {
                <String as sqlx::Encode<'q, DB>>::encode(self.as_str().to_owned(), buffer)
            }
        }
        impl<'r, DB: sqlx::Database> sqlx::Decode<'r, DB> for $ty
        where
            &'r str: sqlx::Decode<'r, DB>,
        {
            fn decode(value: DB::ValueRef<'r>) -> Result<Self, sqlx::error::BoxDynError> {
                Ok(<&'r str as sqlx::Decode<'r, DB>>::decode(value)?.parse::<Self>()?)
            }
        }
    )+ };
}

text_column!(
    crate::domain::alert::AlertState,
    crate::domain::billing::RecordKind,
    crate::domain::call::AttemptState,
    crate::domain::call::CallStatus,
    crate::domain::call::Decision,
    crate::domain::call::Evidence,
    crate::domain::call_status::CustomerResponse,
    crate::domain::conversation::ConversationStatus,
    crate::domain::event::EventSource,
    crate::domain::event::EventState,
    crate::domain::numbers::Claim,
    crate::domain::numbers::IntentState,
    crate::domain::numbers::NumberStatus,
    crate::domain::outcome::Outcome,
    crate::domain::reminder::PauseReason,
    crate::domain::session::SessionStatus,
    crate::domain::welcome::WelcomeState,
);
