//! Who has had the one call that a purpose allows.

use std::collections::HashMap;
use std::hash::BuildHasher;

use super::{Candidate, History};
use crate::store::{Result, Tx, dynamic};

/// Finds who has had the one call that a purpose with the frequency `once` allows, whoever placed it: the slot is held for
/// the phone, for the subject of the enrollment, or for the contact under an earlier phone.
pub async fn mark_once_slots<'a, S: BuildHasher>(
    tx: &mut Tx,
    tenant: &str,
    purpose: &str,
    people: impl IntoIterator<Item = &'a Candidate>,
    histories: &mut HashMap<String, History, S>,
) -> Result<()> {
    let people: Vec<&Candidate> = people.into_iter().collect();
    for batch in people.chunks(500) {
        let subjects: Vec<&str> = batch.iter().map(|one| one.subject.as_str()).filter(|one| !one.is_empty()).collect();
        // A probe of an index each: by phone, by contact and by subject.
        let held: Vec<(i64, String, String)> = dynamic!(
            tx,
            |q| {
                q.push("SELECT CAST(0 AS BIGINT), phone, call_id FROM slots WHERE tenant = ");
                q.push_bind(tenant);
                q.push(" AND purpose = ");
                q.push_bind(purpose);
                q.push(" AND key = 'once' AND phone IN (");
                let mut values = q.separated(", ");
                for one in batch {
                    values.push_bind(&one.phone);
                }
                q.push(
                    ") UNION ALL SELECT CAST(1 AS BIGINT), e.contact_id, s.call_id FROM enrollments e \
                     JOIN calls c ON c.enrollment_id = e.id JOIN slots s ON s.call_id = c.id \
                     WHERE s.key = 'once' AND s.purpose = ",
                );
                q.push_bind(purpose);
                q.push(" AND e.contact_id IN (");
                let mut values = q.separated(", ");
                for one in batch {
                    values.push_bind(&one.contact_id);
                }
                q.push(")");
                if !subjects.is_empty() {
                    q.push(" UNION ALL SELECT CAST(2 AS BIGINT), subject, call_id FROM slots WHERE tenant = ");
                    q.push_bind(tenant);
                    q.push(" AND purpose = ");
                    q.push_bind(purpose);
                    q.push(" AND key = 'once' AND subject IN (");
                    let mut values = q.separated(", ");
                    for subject in &subjects {
                        values.push_bind(*subject);
                    }
                    q.push(")");
                }
            },
            build_query_as::<(i64, String, String)>().fetch_all
        )?;
        let held: HashMap<(i64, &str), &str> =
            held.iter().map(|(by, whose, call)| ((*by, whose.as_str()), call.as_str())).collect();
        for one in batch {
            let keys = [(0, one.phone.as_str()), (1, one.contact_id.as_str()), (2, one.subject.as_str())];
            let call = keys.iter().find_map(|key| held.get(key));
            if let (Some(history), Some(call)) = (histories.get_mut(&one.contact_id), call) {
                history.once_call = Some((*call).to_owned());
            }
        }
    }
    Ok(())
}
