//! From the Service to its VIPs: type, class, what it inherits, what selects it, its
//! addresses, its traffic policy.

use k8s_openapi::api::core::v1::Service;

use super::{
    super::{facts, finding::Finding, remedy},
    Case, Chain, Wrong, not_permitted,
};
use crate::{
    intent::{
        eligibility::NotAnnounced,
        index::{Kind, ObjectKey, ParentKey, RuleId, RuleReport, Traffic, key},
        watch::Unreadable,
    },
    types::Vip,
};

impl Case<'_> {
    /// The links of a Service; returns the VIPs that are to be announced for it.
    pub(super) fn service(&mut self, chain: &mut Chain<'_>, key: &ObjectKey) -> Vec<Vip> {
        let Some(service) = self.objects.service(key) else {
            chain.problem(key, "Service", self.absent(key));
            return Vec::new();
        };
        chain.ok(key, "Service", "it exists");
        let kind = service.spec.as_ref().and_then(|spec| spec.type_.as_deref());
        let kind = kind.unwrap_or("ClusterIP").to_owned();
        match self.index.classify(service) {
            Some(why) => {
                unfit(chain, key, &kind, &why);
                return Vec::new();
            }
            None => chain.ok(key, "type", kind),
        }
        let class = service.spec.as_ref().and_then(|spec| spec.load_balancer_class.as_deref());
        chain.ok(key, "class", class.map_or("none, and ours".to_owned(), str::to_owned));
        let service = service.clone();
        let (Some(report), Some(rules)) =
            (self.index.explain_service(key), self.index.explain_rules(key))
        else {
            return Vec::new();
        };
        self.parents(chain, key, &report.inherits);
        if !rules.iter().any(RuleReport::selects) {
            chain.problem(key, "selection", unselected(key, &rules, &report.inherits));
            return Vec::new();
        }
        selected(chain, key, &rules);
        self.addresses(chain, key, &service, &rules);
        for error in &report.unfit {
            let wrong = Wrong::new(Finding::AddressUnfit, error.to_string());
            let wrong = wrong.remedy(match error {
                crate::types::VipError::Ipv6(_) => remedy::patch_service(
                    key,
                    r#"{"spec":{"ipFamilyPolicy":"SingleStack","ipFamilies":["IPv4"]}}"#,
                ),
                _ => remedy::describe_service(key),
            });
            // Beside an address that fits: a Service with both families.
            if report.vips.is_empty() {
                chain.problem(key, "address", wrong);
            } else {
                chain.note(key, "address", wrong);
            }
        }
        traffic(chain, key, report.traffic);
        report.vips.iter().map(|report| report.vip).collect()
    }

    fn absent(&self, key: &ObjectKey) -> Wrong {
        let named = self
            .objects
            .services()
            .filter(|service| service.metadata.name.as_deref() == Some(&*key.name));
        let elsewhere: Vec<String> = named.filter_map(|it| it.metadata.namespace.clone()).collect();
        let says = format!("there is no Service {} in namespace {}", key.name, key.namespace);
        match elsewhere.first() {
            Some(namespace) => {
                let says = format!("{says}, but one in {}", elsewhere.join(", "));
                let there = ObjectKey::new(namespace, &key.name);
                let remedy = remedy::explain(&there, self.given.namespace);
                Wrong::new(Finding::NoSuchService, says).remedy(remedy)
            }
            None => Wrong::new(Finding::NoSuchService, says)
                .remedy(remedy::list_services(&key.namespace)),
        }
    }

    fn parents(&self, chain: &mut Chain<'_>, key: &ObjectKey, parents: &[(ParentKey, bool)]) {
        for (parent, present) in parents {
            if *present {
                chain.ok(key, "inheritance", format!("it has the labels of {parent}, too"));
                continue;
            }
            let wrong = match self.objects.unreadable.get(&parent.kind) {
                Some(why) => not_permitted(&format!("{parent}, whose labels it inherits"), why),
                None => Wrong::new(
                    Finding::ParentAbsent,
                    format!("it was made for {parent}, which does not exist: no labels of it"),
                )
                .remedy(remedy::list_parents(parent)),
            };
            chain.note(key, "inheritance", wrong);
        }
    }

    fn addresses(
        &mut self,
        chain: &mut Chain<'_>,
        key: &ObjectKey,
        service: &Service,
        rules: &[RuleReport],
    ) {
        let selecting = || rules.iter().filter(|rule| rule.selects());
        let balancer = selecting().any(|rule| rule.load_balancer_ips);
        let external = selecting().any(|rule| rule.external_ips);
        let spec = service.spec.as_ref();
        let external_ips = spec.and_then(|s| s.external_ips.as_deref()).unwrap_or_default();
        let is_balancer = spec.and_then(|s| s.type_.as_deref()) == Some("LoadBalancer");
        let ingress = service.status.as_ref().and_then(|s| s.load_balancer.as_ref());
        let ingress = ingress.and_then(|lb| lb.ingress.as_deref()).unwrap_or_default();
        let has_vips =
            ingress.iter().any(|i| i.ip.is_some() && i.ip_mode.as_deref() != Some("Proxy"));
        let announces_some =
            (is_balancer && balancer && has_vips) || (external && !external_ips.is_empty());
        let mut wrongs = Vec::new();
        if !external_ips.is_empty() && !external {
            let says = format!("its externalIPs {} are not announced", external_ips.join(", "));
            let remedy = match selecting().find_map(policy) {
                Some(policy) => remedy::patch_policy(policy, r#"{"externalIPs":true}"#),
                None => remedy::set_variable(self.given.namespace, "ANNOUNCER_EXTERNAL_IPS=true"),
            };
            wrongs.push(Wrong::new(Finding::ExternalIpsNotAnnounced, says).remedy(remedy));
        }
        if is_balancer && has_vips && !balancer {
            let says = "what selects it does not announce load-balancer addresses";
            let remedy = selecting().find_map(policy);
            let remedy = remedy.map(|it| remedy::patch_policy(it, r#"{"loadBalancerIPs":true}"#));
            wrongs.push(Wrong::new(Finding::PolicyAnnouncesOtherAddresses, says).remedy(remedy));
        }
        if is_balancer && balancer && !has_vips {
            let says = match ingress {
                [] => {
                    "it has no address: nobody has filled in status.loadBalancer.ingress, which \
                       is the work of an address allocator"
                }
                _ => "its addresses are names, or a proxy's own (ipMode: Proxy): not for nodes",
            };
            let wrong = Wrong::new(Finding::NoAddress, says);
            wrongs.push(wrong.remedy(remedy::describe_service(key)));
        }
        if announces_some {
            let addresses: Vec<&str> = facts::addresses(service).collect();
            chain.ok(key, "address", addresses.join(", "));
            wrongs.into_iter().for_each(|wrong| chain.note(key, "address", wrong));
            return;
        }
        // Each of them is reason enough.
        wrongs.into_iter().for_each(|wrong| chain.problem(key, "address", wrong));
    }
}

impl Case<'_> {
    /// Why there are no VIPs at all, and what to type.
    pub(in crate::explain) fn no_vips(&mut self) -> String {
        if let Some(why) = self.objects.unreadable.get(&Kind::Service) {
            let typed = self.typed(&remedy::may_i(None, "list", "services"));
            return format!("no VIPs: Services {why}; type: {typed}");
        }
        // What is selected waits for an address; else one that looks as if it were meant.
        self.index().claimed();
        let is_balancer = |service: &&Service| {
            service.spec.as_ref().and_then(|spec| spec.type_.as_deref()) == Some("LoadBalancer")
        };
        let keys = self.objects.services().map(|service| key(&service.metadata));
        let is_selected = |key: &ObjectKey| {
            let rules = self.index.explain_rules(key);
            rules.is_some_and(|rules| rules.iter().any(RuleReport::selects))
        };
        let selected = keys.filter(is_selected).collect::<Vec<_>>();
        let balancer = self.objects.services().find(is_balancer).map(|it| key(&it.metadata));
        let says = match selected.len() {
            0 => "no Service is selected".to_owned(),
            1 => "the one Service that is selected has no address to announce".to_owned(),
            n => format!("none of {n} Services that are selected has an address to announce"),
        };
        let remedy = match selected.into_iter().next().or(balancer) {
            Some(service) => remedy::explain(&service, self.given.namespace),
            None => remedy::list_all_services(),
        };
        format!("no VIPs: {says}; type: {}", self.typed(&remedy))
    }

    /// The kinds that may not be read: of those that are missing nothing is lost.
    pub(in crate::explain) fn forbidden(&self) -> Vec<String> {
        let all = self.objects.unreadable.iter();
        let forbidden = all.filter(|(_, why)| matches!(why, Unreadable::Forbidden(_)));
        forbidden.map(|(kind, why)| format!("{kind} objects {why}")).collect()
    }
}

fn policy(rule: &RuleReport) -> Option<&str> {
    match &rule.rule {
        RuleId::Policy(name) => Some(name),
        RuleId::Flags => None,
    }
}

fn unfit(chain: &mut Chain<'_>, key: &ObjectKey, kind: &str, why: &NotAnnounced) {
    let says = why.to_string();
    match why {
        NotAnnounced::OtherClass { ours, .. } => {
            chain.ok(key, "type", kind);
            let wrong = Wrong::new(Finding::OtherClass, says);
            chain.problem(key, "class", wrong.remedy(remedy::set_class(key, ours)));
        }
        NotAnnounced::NoClass { ours } => {
            chain.ok(key, "type", kind);
            let wrong = Wrong::new(Finding::NoClass, says);
            chain.problem(key, "class", wrong.remedy(remedy::set_class(key, ours)));
        }
        _ => {
            let wrong = Wrong::new(Finding::NotLoadBalancer, says);
            let remedy = remedy::patch_service(key, r#"{"spec":{"type":"LoadBalancer"}}"#);
            chain.problem(key, "type", wrong.remedy(remedy));
        }
    }
}

fn selected(chain: &mut Chain<'_>, key: &ObjectKey, rules: &[RuleReport]) {
    let by: Vec<String> =
        rules.iter().filter(|rule| rule.selects()).map(|rule| rule.rule.to_string()).collect();
    chain.ok(key, "selection", format!("selected by {}", by.join(", ")));
    for rule in rules.iter().filter(|rule| !rule.errors.is_empty()) {
        let wrong = Wrong::new(Finding::PolicyNotAccepted, refused(rule));
        chain.note(key, "selection", wrong.remedy(policy(rule).map(remedy::edit_policy)));
    }
}

fn refused(rule: &RuleReport) -> String {
    let errors: Vec<String> = rule.errors.iter().map(ToString::to_string).collect();
    format!("{} has no effect: {}", rule.rule, errors.join("; "))
}

fn unselected(key: &ObjectKey, rules: &[RuleReport], parents: &[(ParentKey, bool)]) -> Wrong {
    let details = rules.iter().map(|rule| {
        if rule.errors.is_empty() {
            let unmet: Vec<String> = rule.unmet.iter().map(ToString::to_string).collect();
            format!("{}: {}", rule.rule, unmet.join("; "))
        } else {
            refused(rule)
        }
    });
    let details: Vec<String> = details.collect();
    let accepted = || rules.iter().filter(|rule| rule.errors.is_empty());
    let Some(nearest) = accepted().min_by_key(|rule| rule.unmet.len()) else {
        let wrong = match details.as_slice() {
            [] => "no rule is in force".to_owned(),
            all => all.join("; "),
        };
        let remedy = rules.first().and_then(policy).map(remedy::edit_policy);
        return Wrong::new(Finding::PolicyNotAccepted, wrong).remedy(remedy);
    };
    // What was made for something is labelled through that.
    let parent = parents.iter().find(|(_, present)| *present);
    let remedy = match parent {
        Some((parent, _)) => remedy::label_parent(parent, &nearest.unmet),
        None => remedy::label_service(key, &nearest.unmet),
    };
    let remedy = remedy.or_else(|| policy(nearest).map(remedy::edit_policy));
    let terms: Vec<String> = nearest.unmet.iter().map(ToString::to_string).collect();
    let terms = terms.join("; ");
    let absent = parents.iter().find(|(_, present)| !present);
    let wrong = match (&nearest.rule, absent) {
        (RuleId::Flags, Some((parent, _))) => Wrong::new(
            Finding::ParentAbsent,
            format!(
                "{parent}, whose labels it would have, is not to be seen, and of its own {terms}"
            ),
        ),
        (RuleId::Flags, None) => Wrong::new(
            Finding::LabelsDiffer,
            format!("its labels do not match --service-selector: {terms}"),
        ),
        (RuleId::Policy(name), _) => {
            let says = format!(
                "none of the {} L2AnnouncementPolicies selects it (and with one in the cluster \
                 --service-selector has no say); for {name}, {terms}",
                rules.len()
            );
            Wrong::new(Finding::NoPolicySelects, says)
        }
    };
    wrong.details(details).remedy(remedy)
}

fn traffic(chain: &mut Chain<'_>, key: &ObjectKey, traffic: Traffic) {
    chain.ok(
        key,
        "traffic",
        match traffic {
            Traffic::Cluster => "externalTrafficPolicy: Cluster, any node will do",
            Traffic::Local => "externalTrafficPolicy: Local, nodes with a serving endpoint",
            Traffic::Unlocated => {
                "externalTrafficPolicy: Local, but its endpoints say of no node that they are \
                 there: any node will do"
            }
            Traffic::Unreadable => {
                "externalTrafficPolicy: Local, but EndpointSlices cannot be read: any node will do"
            }
        },
    );
}
