//! Who of a queue is one person, and what becomes of them.

use std::collections::{HashMap, HashSet};

use super::Said;

/// A row, as far as it matters for who is called. Small: all rows of a queue are held at once, since what the last row says
/// decides about the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The phone's digits; none where the row has no usable one.
    pub phone: Option<u64>,
    /// The customer, as a number.
    pub customer: Option<u64>,
    /// What it says of its person.
    pub said: Said,
    /// When the row came to be, in microseconds since 1970.
    pub created_at: Option<i64>,
}

/// What two rows have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Link {
    /// The phone.
    Phone,
    /// The customer.
    Customer,
    /// A third row, that shares the phone with the one and the customer with the other.
    Others,
}

impl Link {
    /// The beginning of the reason that a row is given.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Phone => "same_phone",
            Self::Customer => "same_customer",
            Self::Others => "same_person",
        }
    }
}

/// What becomes of a row. Rows are named by their place among all, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The slot of its phone is spent: by what the row says itself, or by that of another row of the person.
    Spend {
        /// The row that says so, and what it shares with this one; none for this one itself.
        by: Option<(usize, Link)>,
    },
    /// Its person is enrolled.
    Enroll,
    /// Another row of the person counts.
    Duplicate {
        /// Which.
        of: usize,
        /// What both share.
        link: Link,
    },
    /// Its person was tried, or taken back, and is not called.
    LeaveOut,
    /// Its person is not called as long as another row of theirs is unclear.
    HoldBack {
        /// Which.
        unclear: usize,
    },
    /// It has no phone, or nobody knows what it says.
    Nothing,
}

/// Sets of rows that are one person.
struct People {
    parent: Vec<usize>,
}

impl People {
    /// Rows that share a phone or a customer are one person, also by way of others.
    fn of(rows: &[Row]) -> Self {
        let mut people = Self { parent: (0..rows.len()).collect() };
        let mut first: HashMap<(bool, u64), usize> = HashMap::new();
        for (index, row) in rows.iter().enumerate() {
            for key in [row.phone.map(|phone| (false, phone)), row.customer.map(|customer| (true, customer))] {
                let Some(key) = key else { continue };
                let other = *first.entry(key).or_insert(index);
                people.join(index, other);
            }
        }
        people
    }

    fn root(&mut self, mut index: usize) -> usize {
        while self.parent[index] != index {
            self.parent[index] = self.parent[self.parent[index]];
            index = self.parent[index];
        }
        index
    }

    fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.root(one), self.root(other));
        self.parent[one.max(other)] = one.min(other);
    }
}

/// What the rows of one person come to.
#[derive(Clone, Copy, Debug, Default)]
struct Person {
    /// The first row by which the call is spent.
    spent: Option<usize>,
    /// The first row that is unclear.
    unclear: Option<usize>,
    /// The row to be called: the oldest, else the first.
    best: Option<usize>,
}

/// What becomes of a queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decided {
    /// What becomes of each row, in their order.
    pub fates: Vec<Fate>,
    /// The row whose customer a row bears in the place of its own, or where it has none.
    pub lent: HashMap<usize, usize>,
    /// Of each customer who may have been called, and for whom no phone is left that could bear them, a row.
    pub unheld: Vec<usize>,
}

/// Decides about all rows of a queue. With `retry_failed`, who was tried and not reached is called.
///
/// A spent row wins over all others of its person, wherever it stands; then an unclear one, by which nobody is called; of
/// those that wait the oldest is called, and of those of unknown age the first.
///
/// The customers of a person go to those of its rows that make something of themselves, whichever row names them: each its own
/// as far as that is possible, and those who may have been called before all others.
pub fn decide(rows: &[Row], retry_failed: bool) -> Decided {
    let mut people = People::of(rows);
    let waits =
        |row: &Row| row.phone.is_some() && (row.said == Said::Waiting || (retry_failed && row.said == Said::Failed));
    let age = |index: usize| (rows[index].created_at.unwrap_or(i64::MAX), index);
    let mut persons: HashMap<usize, Person> = HashMap::new();
    // The row that stands for a phone of somebody who is not called.
    let mut first: HashMap<u64, usize> = HashMap::new();
    for (index, row) in rows.iter().enumerate() {
        let person = persons.entry(people.root(index)).or_default();
        if row.said.is_spent() {
            person.spent.get_or_insert(index);
        } else if row.said == Said::Unclear {
            person.unclear.get_or_insert(index);
        } else if waits(row) {
            let is_better = person.best.is_none_or(|best| age(index) < age(best));
            person.best = if is_better { Some(index) } else { person.best };
        }
        if let Some(phone) = row.phone.filter(|_| row.said != Said::Unclear) {
            let stands = first.entry(phone).or_insert(index);
            if row.said.is_spent() && !rows[*stands].said.is_spent() {
                *stands = index;
            }
        }
    }
    let link = |one: usize, other: usize| {
        let shares = |key: fn(&Row) -> Option<u64>| key(&rows[one]).is_some() && key(&rows[one]) == key(&rows[other]);
        if shares(|row| row.phone) {
            Link::Phone
        } else if shares(|row| row.customer) {
            Link::Customer
        } else {
            Link::Others
        }
    };
    let fate = |(index, row): (usize, &Row)| {
        let person = persons.get(&people.root(index)).copied().unwrap_or_default();
        let (Some(phone), false) = (row.phone, row.said == Said::Unclear) else { return Fate::Nothing };
        let stands = first.get(&phone).copied().unwrap_or(index);
        match person {
            Person { spent: Some(_), .. } if stands != index => Fate::Duplicate { of: stands, link: Link::Phone },
            Person { spent: Some(spent), .. } => {
                Fate::Spend { by: (!row.said.is_spent()).then(|| (spent, link(index, spent))) }
            }
            Person { unclear: Some(unclear), .. } => Fate::HoldBack { unclear },
            Person { best: Some(best), .. } if best == index => Fate::Enroll,
            Person { best: Some(best), .. } => Fate::Duplicate { of: best, link: link(index, best) },
            Person { .. } if stands != index => Fate::Duplicate { of: stands, link: Link::Phone },
            Person { .. } => Fate::LeaveOut,
        }
    };
    let fates: Vec<Fate> = rows.iter().enumerate().map(fate).collect();
    // By person, each in the order of the file.
    let mut members: Vec<(usize, usize)> = Vec::new();
    for (index, row) in rows.iter().enumerate() {
        if row.customer.is_some() || makes_something(&fates[index], row) {
            members.push((people.root(index), index));
        }
    }
    members.sort_unstable();
    let (mut lent, mut unheld) = (HashMap::new(), Vec::new());
    for members in members.chunk_by(|one, other| one.0 == other.0) {
        let members: Vec<usize> = members.iter().map(|(_, index)| *index).collect();
        lend(rows, &fates, &members, &mut lent, &mut unheld);
    }
    unheld.sort_unstable();
    Decided { fates, lent, unheld }
}

/// Whether a row has a phone that can bear a customer.
fn makes_something(fate: &Fate, row: &Row) -> bool {
    row.phone.is_some() && !matches!(fate, Fate::Duplicate { .. })
}

/// Gives the customers of one person to its rows that can bear one each.
fn lend(rows: &[Row], fates: &[Fate], members: &[usize], lent: &mut HashMap<usize, usize>, unheld: &mut Vec<usize>) {
    let is_spent = members.iter().any(|index| rows[*index].said.is_spent());
    let mut by_phone: HashMap<u64, usize> = HashMap::new();
    for index in members.iter().filter(|index| makes_something(&fates[**index], &rows[**index])) {
        if let Some(phone) = rows[*index].phone.filter(|_| !is_spent || matches!(fates[*index], Fate::Spend { .. })) {
            by_phone.entry(phone).or_insert(*index);
        }
    }
    let mut bearers: Vec<usize> = by_phone.values().copied().collect();
    bearers.sort_unstable();
    let mut borne: HashMap<usize, u64> = HashMap::new();
    let mut held: HashSet<u64> = HashSet::new();
    let near = |index: usize| rows[index].phone.and_then(|phone| by_phone.get(&phone)).copied();
    let mut free = bearers.iter();
    for is_spent in [true, false] {
        let those: Vec<(usize, u64)> = members
            .iter()
            .filter(|index| rows[**index].said.is_spent() == is_spent)
            .filter_map(|index| rows[*index].customer.map(|customer| (*index, customer)))
            .collect();
        // Their own row, else a row with their phone, else any of the person.
        for nearness in [Link::Customer, Link::Phone, Link::Others] {
            for (index, customer) in &those {
                if held.contains(customer) {
                    continue;
                }
                let bearer = match nearness {
                    Link::Customer => near(*index).filter(|bearer| bearer == index),
                    Link::Phone => near(*index),
                    Link::Others => free.find(|bearer| !borne.contains_key(*bearer)).copied(),
                };
                match bearer.filter(|bearer| !borne.contains_key(bearer)) {
                    Some(bearer) => {
                        borne.insert(bearer, *customer);
                        held.insert(*customer);
                        if rows[bearer].customer != Some(*customer) {
                            lent.insert(bearer, *index);
                        }
                    }
                    None if is_spent && nearness == Link::Others => {
                        held.insert(*customer);
                        unheld.push(*index);
                    }
                    None => {}
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn row(said: Said, phone: u64, customer: u64, created_at: i64) -> Row {
        let some = |number: u64| (number > 0).then_some(number);
        Row { phone: some(phone), customer: some(customer), said, created_at: (created_at > 0).then_some(created_at) }
    }

    fn fates(rows: &[(Said, u64, u64, i64)]) -> Vec<Fate> {
        let rows: Vec<Row> =
            rows.iter().map(|(said, phone, customer, at)| row(*said, *phone, *customer, *at)).collect();
        decide(&rows, false).fates
    }

    /// Which row lends its customer to which, and whose customer is held nowhere.
    fn borne(rows: &[(Said, u64, u64, i64)]) -> (Vec<(usize, usize)>, Vec<usize>) {
        let rows: Vec<Row> =
            rows.iter().map(|(said, phone, customer, at)| row(*said, *phone, *customer, *at)).collect();
        let decided = decide(&rows, false);
        let mut lent: Vec<(usize, usize)> = decided.lent.into_iter().collect();
        lent.sort_unstable();
        (lent, decided.unheld)
    }

    #[test]
    fn a_customer_is_not_lost_with_the_row_that_names_it() {
        use Said::{Called as C, Failed as F, Waiting as W};
        // The row that counts has none.
        assert_eq!(borne(&[(C, 1, 0, 0), (C, 1, 7, 0)]), (vec![(0, 1)], vec![]));
        assert_eq!(borne(&[(C, 1, 0, 0), (W, 1, 7, 0)]), (vec![(0, 1)], vec![]));
        assert_eq!(borne(&[(W, 1, 0, 1), (W, 1, 7, 2)]), (vec![(0, 1)], vec![]));
        assert_eq!(borne(&[(F, 1, 0, 0), (F, 1, 7, 0)]), (vec![(0, 1)], vec![]));
        assert_eq!(borne(&[(W, 1, 0, 0), (Said::Unclear, 1, 7, 0)]), (vec![(0, 1)], vec![]));
        assert_eq!(borne(&[(Said::Unclear, 1, 7, 0), (C, 1, 0, 0)]), (vec![(1, 0)], vec![]));
        // Each its own; two customers of one phone go to the two phones that there are.
        assert_eq!(borne(&[(C, 1, 7, 0), (C, 1, 8, 0), (C, 2, 8, 0)]), (vec![], vec![]));
        assert_eq!(borne(&[(C, 1, 7, 0), (C, 2, 7, 0), (C, 1, 8, 0)]), (vec![(1, 2)], vec![]));
        // Who was called comes before who was not.
        assert_eq!(borne(&[(C, 1, 0, 0), (W, 1, 8, 0), (C, 0, 7, 0), (W, 1, 7, 0)]), (vec![(0, 2)], vec![]));
        // Nowhere to go.
        assert_eq!(borne(&[(C, 0, 7, 0), (C, 0, 7, 0), (C, 0, 8, 0)]), (vec![], vec![0, 2]));
        assert_eq!(borne(&[(C, 1, 7, 0), (C, 1, 8, 0)]), (vec![], vec![1]));
        assert_eq!(borne(&[(Said::Unclear, 1, 7, 0), (C, 0, 7, 0)]), (vec![], vec![1]), "no slot bears them");
    }

    #[test]
    fn of_three_that_wait_the_oldest_is_called() {
        use Said::Waiting as W;
        let dup = |of, link| Fate::Duplicate { of, link };
        assert_eq!(
            fates(&[(W, 1, 0, 3), (W, 1, 0, 2), (W, 1, 0, 0)]),
            [dup(1, Link::Phone), Fate::Enroll, dup(1, Link::Phone)]
        );
        assert_eq!(fates(&[(W, 1, 0, 0), (W, 1, 0, 0)]), [Fate::Enroll, dup(0, Link::Phone)]);
        // One customer with two phones, and by way of the second phone one more row.
        assert_eq!(
            fates(&[(W, 1, 7, 0), (W, 2, 7, 0), (W, 2, 0, 0)]),
            [Fate::Enroll, dup(0, Link::Customer), dup(0, Link::Others)]
        );
    }

    #[test]
    fn what_is_spent_wins_wherever_it_stands() {
        use Said::{Called as C, Failed as F, MayHaveRung as M, Unclear as U, Waiting as W};
        let spend = |by| Fate::Spend { by };
        let dup = |of| Fate::Duplicate { of, link: Link::Phone };
        assert_eq!(fates(&[(W, 1, 0, 1), (C, 1, 0, 2), (W, 1, 0, 3)]), [dup(1), spend(None), dup(1)]);
        // Each phone of the customer is spent, also one that was never dialled.
        assert_eq!(fates(&[(W, 2, 7, 1), (M, 1, 7, 2)]), [spend(Some((1, Link::Customer))), spend(None)]);
        assert_eq!(fates(&[(U, 1, 7, 1), (C, 1, 7, 2)]), [Fate::Nothing, spend(None)]);
        // A row without a usable phone still says that its customer was called.
        assert_eq!(fates(&[(C, 0, 7, 1), (W, 2, 7, 2)]), [Fate::Nothing, spend(Some((0, Link::Customer)))]);
        assert_eq!(fates(&[(F, 1, 0, 0), (F, 1, 0, 0), (F, 2, 0, 0)]), [Fate::LeaveOut, dup(0), Fate::LeaveOut]);
    }

    #[test]
    fn nobody_is_called_by_a_word_that_nobody_knows() {
        use Said::{Unclear as U, Waiting as W};
        let held = Fate::HoldBack { unclear: 1 };
        assert_eq!(fates(&[(W, 1, 0, 0), (U, 1, 7, 0), (W, 2, 7, 0)]), [held, Fate::Nothing, held]);
    }

    proptest! {
        /// Nobody is called twice, and nobody who may have been called is called at all: by phone, by customer, or by
        /// way of others.
        #[test]
        fn at_most_one_row_of_a_person_is_called(
            rows in prop::collection::vec(
                (prop::sample::select(Said::ALL.to_vec()), 0_u64..6, 0_u64..5, 0_i64..4), 0..14
            ),
            retry_failed in any::<bool>(),
        ) {
            let rows: Vec<Row> = rows.into_iter().map(|(said, p, c, at)| row(said, p, c, at)).collect();
            let Decided { fates, lent, unheld } = decide(&rows, retry_failed);
            let borne = |index: usize| rows[lent.get(&index).copied().unwrap_or(index)].customer;
            // The slow way: who can be reached from whom.
            let touch = |a: &Row, b: &Row| {
                (a.phone.is_some() && a.phone == b.phone) || (a.customer.is_some() && a.customer == b.customer)
            };
            for start in 0..rows.len() {
                let mut person = vec![start];
                let mut next = 0;
                while next < person.len() {
                    let at = person[next];
                    let more: Vec<usize> =
                        (0..rows.len()).filter(|to| !person.contains(to) && touch(&rows[at], &rows[*to])).collect();
                    person.extend(more);
                    next += 1;
                }
                let any = |is: &dyn Fn(&Row) -> bool| person.iter().any(|index| is(&rows[*index]));
                let called = person.iter().filter(|index| fates[**index] == Fate::Enroll).count();
                let is_spent = any(&|row| row.said.is_spent());
                let waits = any(&|row| {
                    row.phone.is_some() && (row.said == Said::Waiting || retry_failed && row.said == Said::Failed)
                });
                let may_be_called = waits && !is_spent && !any(&|row| row.said == Said::Unclear);
                prop_assert_eq!(called, usize::from(may_be_called), "{:?} {:?}", rows, fates);
                let bearers: Vec<usize> = person
                    .iter()
                    .copied()
                    .filter(|index| matches!(fates[*index], Fate::Spend { .. } | Fate::Enroll))
                    .collect();
                let held: Vec<u64> = bearers.iter().filter_map(|index| borne(*index)).collect();
                for index in person.iter().filter(|_| is_spent || called > 0) {
                    let Some(customer) = rows[*index].customer else { continue };
                    let is_free = bearers.iter().any(|index| borne(*index).is_none());
                    prop_assert!(held.contains(&customer) || !is_free, "{:?} {:?}", rows, lent);
                    let is_told = unheld.iter().any(|index| rows[*index].customer == Some(customer));
                    let may_be_lost = !held.contains(&customer)
                        && person.iter().any(|one| rows[*one].customer == Some(customer) && rows[*one].said.is_spent());
                    prop_assert_eq!(is_told, may_be_lost, "{:?} {:?}", rows, lent);
                }
                for index in &person {
                    if let (Some(phone), true) = (rows[*index].phone, is_spent && rows[*index].said != Said::Unclear) {
                        let spent = person.iter().filter(|other| {
                            rows[**other].phone == Some(phone) && matches!(fates[**other], Fate::Spend { .. })
                        });
                        prop_assert_eq!(spent.count(), 1, "one slot for each phone: {:?} {:?}", rows, fates);
                    }
                    if let Fate::Duplicate { of, .. } = fates[*index] {
                        let counts = !matches!(fates[of], Fate::Duplicate { .. } | Fate::Nothing);
                        prop_assert!(person.contains(&of) && counts);
                    }
                }
            }
        }
    }
}
