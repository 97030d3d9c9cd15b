//! A database connection that is cut at any question: nothing is lost, and the exit code says so when work was left.

use chrono::TimeDelta;

use super::stage::{Case, Template, every, ordinary};
use super::{say, seed, size};
use crate::common::Backend;
use crate::common::proxy::{Cut, Proxy};

#[test]
fn connections_cut_at_every_question() {
    const PEOPLE: usize = 5;
    let (step, most) = size((8, 15), (1, 400));
    let first = seed() % step;
    let template = Template::new(Backend::Postgres, ordinary(PEOPLE), 1000);
    let cases = every(2, most, |n| {
        // The server has carried every second question out by the time that the connection is cut.
        let cut = if n % 2 == 0 { Cut::BeforeAnswer } else { Cut::BeforeQuestion };
        let at = size(n * step - first, n.div_ceil(2));
        let stage = template.stage();
        let proxy = stage.block_on(Proxy::start(stage.url(), at, cut));
        let callops = stage.callops().env("CALLOPS_DATABASE_URL", proxy.url(stage.url()));
        let output = stage.run_with(&callops, &["process-calls"]);
        if proxy.asked() < at {
            assert_eq!((output.code(), stage.verdict()), (Some(0), String::new()), "{output}");
            return Case::Last;
        }
        let mut wrong = String::new();
        if output.code() == Some(0) && !stage.verdict().is_empty() {
            wrong = format!("exit code 0, and yet {}", stage.verdict());
        }
        if !matches!(output.code(), Some(0 | 7)) {
            wrong += "a lost database is exit code 7, not ";
            wrong += &output.to_string();
        }
        // What was cut off before it was recorded is found at the provider; the rest is rung.
        stage.wait(TimeDelta::seconds(1));
        wrong.push_str(&stage.settle());
        if !wrong.is_empty() {
            wrong = format!("cut {cut:?} {at}: {wrong}\nthe run that was cut: {output}");
        }
        Case::Done(wrong)
    });
    say(&format!("{cases} connections were cut"));
    assert!(cases >= 5, "only {cases} connections were cut");
}
