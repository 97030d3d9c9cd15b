//! Whose a number is, by what tenants say of their numbers.

use std::collections::{BTreeMap, HashMap};

use wildmatch::WildMatchPattern;

use super::{Claim, Number, NumberSettings, tenant_of_purchase_name};

/// `*` is anything; every other character is itself, since URLs have question marks.
type Pattern = WildMatchPattern<'*', '\0'>;

/// What the tenants of one account say, ready to be compared with many numbers.
#[derive(Debug, Default)]
pub struct Claims {
    tenants: Vec<String>,
    subaccounts: HashMap<String, Vec<usize>>,
    friendly_names: Texts,
    voice_urls: Texts,
}

/// Texts and patterns, and whose they are.
#[derive(Debug, Default)]
struct Texts {
    plain: HashMap<String, Vec<usize>>,
    patterns: Vec<(Pattern, usize)>,
}

impl Texts {
    fn add(&mut self, text: &str, tenant: usize) {
        if text.contains('*') {
            self.patterns.push((Pattern::new(text), tenant));
        } else {
            self.plain.entry(text.to_owned()).or_default().push(tenant);
        }
    }

    fn of<'a>(&'a self, text: &'a str) -> impl Iterator<Item = usize> + 'a {
        let plain = self.plain.get(text).into_iter().flatten().copied();
        plain.chain(self.patterns.iter().filter(|(pattern, _)| pattern.matches(text)).map(|(_, tenant)| *tenant))
    }
}

/// Who says that a number is theirs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claimed<'c> {
    /// Nobody.
    Unclaimed,
    /// One tenant, and by what; the strongest of several.
    By(&'c str, Claim),
    /// Several tenants, in the order of their names: it counts as nobody's.
    Contested(Vec<&'c str>),
}

impl<'c> Claimed<'c> {
    /// The one tenant.
    pub fn tenant(&self) -> Option<&'c str> {
        match self {
            Self::By(tenant, _) => Some(tenant),
            Self::Unclaimed | Self::Contested(_) => None,
        }
    }

    /// By what; or that several say so.
    pub fn claim(&self) -> Option<Claim> {
        match self {
            Self::By(_, claim) => Some(*claim),
            Self::Contested(_) => Some(Claim::Contested),
            Self::Unclaimed => None,
        }
    }

    /// Whether nobody but this tenant says so.
    pub fn leaves_it_to(&self, tenant: &str) -> bool {
        match self {
            Self::By(claimant, _) => *claimant == tenant,
            Self::Unclaimed => true,
            Self::Contested(_) => false,
        }
    }
}

impl Claims {
    /// What these tenants say.
    pub fn new<'t>(tenants: impl IntoIterator<Item = (&'t str, &'t NumberSettings)>) -> Self {
        let mut claims = Self::default();
        for (name, settings) in tenants {
            let tenant = claims.tenants.len();
            claims.tenants.push(name.to_owned());
            if let Some(sid) = &settings.subaccount {
                claims.subaccounts.entry(sid.clone()).or_default().push(tenant);
            }
            for (texts, text) in [
                (&mut claims.friendly_names, &settings.friendly_name),
                (&mut claims.voice_urls, &settings.voice_url_pattern),
            ] {
                if let Some(text) = text {
                    texts.add(text, tenant);
                }
            }
        }
        claims
    }

    /// Who says that a number is theirs.
    pub fn of(&self, number: &Number) -> Claimed<'_> {
        let mut found: BTreeMap<&str, Claim> = BTreeMap::new();
        let mut add = |tenant: usize, claim: Claim| {
            let known = found.entry(&self.tenants[tenant]).or_insert(claim);
            *known = claim.min(*known);
        };
        for tenant in self.subaccounts.get(&number.account_sid).into_iter().flatten() {
            add(*tenant, Claim::Subaccount);
        }
        if let Some(name) = &number.friendly_name {
            let bought_for = tenant_of_purchase_name(name);
            if let Some(tenant) = bought_for.and_then(|name| self.tenants.iter().position(|known| known == name)) {
                add(tenant, Claim::Purchase);
            }
            self.friendly_names.of(name).for_each(|tenant| add(tenant, Claim::FriendlyName));
        }
        if let Some(url) = &number.voice_url {
            self.voice_urls.of(url).for_each(|tenant| add(tenant, Claim::VoiceUrl));
        }
        match found.len() {
            0 => Claimed::Unclaimed,
            1 => found.into_iter().next().map_or(Claimed::Unclaimed, |(tenant, claim)| Claimed::By(tenant, claim)),
            _ => Claimed::Contested(found.into_keys().collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(account_sid: &str, friendly_name: &str, voice_url: &str) -> Number {
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Number {
            account_sid: account_sid.to_owned(),
            friendly_name: text(friendly_name),
            voice_url: text(voice_url),
            ..Number::default()
        }
    }

    #[test]
    fn a_number_is_claimed_by_each_means_and_by_one_tenant_only() {
        let acme = NumberSettings {
            subaccount: Some("ACacme".to_owned()),
            friendly_name: Some("Acme *".to_owned()),
            voice_url_pattern: Some("https://acme.example/*?line=1".to_owned()),
            ..NumberSettings::default()
        };
        let bell = NumberSettings { friendly_name: Some("Bell".to_owned()), ..NumberSettings::default() };
        let claims = Claims::new([("bell", &bell), ("acme", &acme)]);
        for (account, name, url, expected) in [
            ("ACacme", "", "", Claimed::By("acme", Claim::Subaccount)),
            ("ACacme", "Acme Dental", "", Claimed::By("acme", Claim::Subaccount)),
            ("ACx", "Acme Dental", "", Claimed::By("acme", Claim::FriendlyName)),
            ("ACx", "Acme", "", Claimed::Unclaimed),
            ("ACx", "acme dental", "", Claimed::Unclaimed),
            ("ACx", "", "https://acme.example/voice?line=1", Claimed::By("acme", Claim::VoiceUrl)),
            ("ACx", "", "https://acme.example/voicexline=1", Claimed::Unclaimed),
            ("ACx", "callops bell 01JD5Q3G7V9M2C8K4R6T0W1XYZ", "", Claimed::By("bell", Claim::Purchase)),
            ("ACx", "callops nobody 01JD5Q3G7V9M2C8K4R6T0W1XYZ", "", Claimed::Unclaimed),
            ("ACacme", "Bell", "", Claimed::Contested(vec!["acme", "bell"])),
            ("ACx", "", "", Claimed::Unclaimed),
        ] {
            assert_eq!(claims.of(&number(account, name, url)), expected, "{account} {name} {url}");
        }
    }
}
