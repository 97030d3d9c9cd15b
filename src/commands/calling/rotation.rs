//! Who is served next: tenants take turns, and within a tenant its campaigns do, so that none starves.

use std::collections::{HashMap, VecDeque};

use super::counts::Counts;
use super::plan::{Due, Search, Source};
use crate::app::App;

/// Sources in the order in which they are served.
#[derive(Debug, Default)]
pub struct Rotation {
    tenants: VecDeque<(String, VecDeque<(Source, i64)>)>,
}

impl Rotation {
    /// Takes the sources in: tenants unserved longest first; within a tenant, campaigns of a higher priority first and
    /// with `1 + priority` calls a turn.
    pub fn new(mut sources: Vec<Source>) -> Self {
        sources.sort_by(|a, b| {
            let (a, b) = (&a.context.campaign, &b.context.campaign);
            (-a.priority, a.last_served_at, &a.name).cmp(&(-b.priority, b.last_served_at, &b.name))
        });
        let mut rotation = Self::default();
        for source in sources {
            let tenant = source.context.campaign.tenant.clone();
            match rotation.tenants.iter_mut().find(|(name, _)| *name == tenant) {
                Some((_, queue)) => queue.push_back((source, 0)),
                None => rotation.tenants.push_back((tenant, VecDeque::from([(source, 0)]))),
            }
        }
        // A tenant's turn comes by when any of its campaigns was last served.
        rotation.tenants.make_contiguous().sort_by_key(|(name, queue)| {
            (queue.iter().map(|(source, _)| source.context.campaign.last_served_at).max(), name.clone())
        });
        rotation
    }

    /// How often in a row the provider has refused each campaign, by its id.
    pub fn refusals(&self) -> HashMap<String, i64> {
        let sources = self.tenants.iter().flat_map(|(_, queue)| queue);
        sources.map(|(source, _)| (source.context.campaign.id.clone(), source.context.campaign.refusals)).collect()
    }

    /// The next person who is due; none when nobody is left.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn next(&mut self, app: &App, search: Search<'_>, counts: &mut Counts) -> anyhow::Result<Option<Due>> {
        while let Some((tenant, mut queue)) = self.tenants.pop_front() {
            while let Some((mut source, credit)) = queue.pop_front() {
                let Some(due) = source.next(app, search, counts).await? else { continue };
                let credit = if credit > 0 { credit } else { 1 + source.context.campaign.priority.max(0) } - 1;
                if credit > 0 {
                    queue.push_front((source, credit));
                } else {
                    queue.push_back((source, 0));
                }
                self.tenants.push_back((tenant, queue));
                return Ok(Some(due));
            }
        }
        Ok(None)
    }

    /// Stops looking for people of an account or of a campaign.
    pub fn drain(&mut self, is_drained: impl Fn(&Source) -> bool) {
        for (_, queue) in &mut self.tenants {
            for (source, _) in queue.iter_mut().filter(|(source, _)| is_drained(source)) {
                source.drain();
            }
        }
    }
}
