//! Trees as the scaffolding of operators makes them, each with a few changes that people make: other
//! fields, other notation, annotations of tools, links, and slips.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

use super::overlay::{File, Overlay};

/// The files of the tree, and what they hold.
const TREE: [(&str, &str); 22] = [
    (
        "overlay/kustomization.yaml",
        include_str!("operator/default.yaml"),
    ),
    (
        "overlay/metrics_patch.yaml",
        include_str!("operator/metrics_patch.yaml"),
    ),
    (
        "overlay/webhook_patch.yaml",
        include_str!("operator/webhook_patch.yaml"),
    ),
    ("crd/kustomization.yaml", include_str!("operator/crd.yaml")),
    (
        "crd/kustomizeconfig.yaml",
        include_str!("operator/crd_config.yaml"),
    ),
    (
        "crd/bases/shops.yaml",
        include_str!("operator/crd_shops.yaml"),
    ),
    (
        "crd/patches/webhook.yaml",
        include_str!("operator/crd_webhook.yaml"),
    ),
    (
        "rbac/kustomization.yaml",
        "resources:\n- account.yaml\n- role.yaml\n- binding.yaml\n- metrics.yaml\n",
    ),
    (
        "rbac/account.yaml",
        "apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: manager\n  namespace: system\n",
    ),
    ("rbac/role.yaml", include_str!("operator/role.yaml")),
    ("rbac/binding.yaml", include_str!("operator/binding.yaml")),
    ("rbac/metrics.yaml", include_str!("operator/metrics.yaml")),
    (
        "manager/kustomization.yaml",
        include_str!("operator/manager_kustomization.yaml"),
    ),
    (
        "manager/manager.yaml",
        include_str!("operator/manager.yaml"),
    ),
    (
        "manager/config.yaml",
        "health:\n  port: 8081\nleaderElection: {enabled: true, id: shop}\n",
    ),
    (
        "webhook/kustomization.yaml",
        "resources: [manifests.yaml, service.yaml]\nconfigurations: [kustomizeconfig.yaml]\n",
    ),
    (
        "webhook/kustomizeconfig.yaml",
        include_str!("operator/webhook_config.yaml"),
    ),
    (
        "webhook/manifests.yaml",
        include_str!("operator/webhook.yaml"),
    ),
    (
        "webhook/service.yaml",
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: webhook-service\n  namespace: system\nspec:\n  ports:\n  - port: 443\n    targetPort: 9443\n  selector:\n    control-plane: manager\n",
    ),
    (
        "certmanager/kustomization.yaml",
        "resources: [certificate.yaml]\nconfigurations: [kustomizeconfig.yaml]\n",
    ),
    (
        "certmanager/kustomizeconfig.yaml",
        include_str!("operator/certificate_config.yaml"),
    ),
    (
        "certmanager/certificate.yaml",
        include_str!("operator/certificate.yaml"),
    ),
];

/// Lines that people add to the overlay's kustomization.
const FIELDS: [&str; 22] = [
    "nameSuffix: -v2\n",
    "commonLabels: {team: a}\n",
    "commonAnnotations: {owner: me, note: \"5\"}\n",
    "images: [{name: controller, newName: registry.test/shop, newTag: v2}]\n",
    "images: [{name: \"contr.*\", digest: \"sha256:ab\"}]\n",
    "replicas: [{name: controller-manager, count: 3}]\n",
    "buildMetadata: [originAnnotations]\n",
    "buildMetadata: [transformerAnnotations, managedByLabel]\n",
    "sortOptions: {order: fifo}\n",
    "sortOptions: {order: legacy, legacySortOptions: {orderFirst: [Deployment], orderLast: [Namespace]}}\n",
    "generatorOptions: {disableNameSuffixHash: true, labels: {g: x}}\n",
    "configMapGenerator: [{name: manager-config, behavior: merge, literals: [extra=1]}]\n",
    "configMapGenerator: [{name: manager-config, behavior: replace, literals: [only=1]}]\n",
    "secretGenerator: [{name: s, literals: [\"a=b=c\", \"q='x'\"], type: t}]\n",
    "transformers: [\"{apiVersion: builtin, kind: PrefixTransformer, metadata: {name: p}, prefix: 7-, fieldSpecs: [{path: metadata/name}]}\"]\n",
    "patchesJson6902: [{target: {version: v1, kind: Service, name: webhook-service}, patch: '[{\"op\": \"replace\", \"path\": \"/spec/ports/0/port\", \"value\": 8443}]'}]\n",
    "patchesStrategicMerge: [\"{apiVersion: apps/v1, kind: Deployment, metadata: {name: controller-manager, namespace: system}, spec: {template: {spec: {containers: [{name: manager, $patch: delete}]}}}}\"]\n",
    "vars: [{name: NS, objref: {apiVersion: v1, kind: Service, name: webhook-service}, fieldref: {fieldpath: metadata.namespace}}]\n",
    "components: [../webhook]\n",
    "openapi: {version: v1.20.4}\n",
    "crds: [../crd/kustomizeconfig.yaml]\n",
    "bases: [../rbac]\n",
];

/// Annotations of tools, which take effect or are taken out.
const ANNOTATIONS: [&str; 13] = [
    "config.kubernetes.io/local-config: \"true\"",
    "config.kubernetes.io/local-config: \"false\"",
    "config.kubernetes.io/path: a.yaml",
    "config.kubernetes.io/index: \"3\"",
    "internal.config.kubernetes.io/path: a.yaml",
    "internal.config.kubernetes.io/index: \"1\"",
    "internal.config.kubernetes.io/needsHash: enabled",
    "internal.config.kubernetes.io/prefixes: x-",
    "config.kubernetes.io/origin: \"path: b.yaml\\n\"",
    "internal.config.kubernetes.io/refBy: x",
    "kustomize.config.k8s.io/id: \"1\"",
    "config.kubernetes.io/merge-source: patch",
    "internal.config.kubernetes.io/allowNameChange: enabled",
];

/// Texts that stand for others, in whatever file they are.
const NOTATIONS: [(&str, &str); 18] = [
    ("replicas: 1", "replicas: \"1\""),
    ("  name: manager\n", "  \"name\": 'manager'\n"),
    ("namespace: system", "namespace: \"system\""),
    (
        "- --leader-elect\n",
        "- &flag --leader-elect\n        - *flag\n",
    ),
    ("labels:\n", "labels: # of it\n"),
    ("resources:\n", "resources: &all\n"),
    ("runAsNonRoot: true", "runAsNonRoot: yes"),
    ("description: |\n", "description: >-\n"),
    ("description: |\n", "description: |+\n"),
    ("apiVersion: v1\n", "---\napiVersion: v1\n"),
    ("kind: Deployment", "kind: StatefulSet"),
    ("name: controller-manager", "name: other-manager"),
    ("namespace: system", "namespace: null"),
    ("path: /spec", "path: /spec/missing"),
    ("delimiter: '/'", "delimiter: '.'"),
    ("create: true", "create: false"),
    ("cpu: 500m", "cpu: 0.5"),
    ("includeSelectors: true", "includeTemplates: true"),
];

pub fn overlay(seed: u64) -> Overlay {
    let mut maker = Maker {
        rng: StdRng::seed_from_u64(seed),
        overlay: Overlay::default(),
    };
    for (name, text) in TREE {
        maker
            .overlay
            .files
            .insert(name.into(), File::Text(text.into()));
    }
    for _ in 0..maker.rng.random_range(1..5) {
        let feature = match maker.rng.random_range(0..20) {
            0..6 => maker.add_field(),
            6..11 => maker.change_notation(),
            11..14 => maker.annotate(),
            14..16 => maker.link(),
            16..18 => maker.change_lines(),
            18 => maker.change_encoding(),
            _ => maker.drop_resource(),
        };
        maker.overlay.features.push(feature);
    }
    maker.overlay.features.sort_unstable();
    maker.overlay.features.dedup();
    maker.overlay
}

struct Maker {
    rng: StdRng,
    overlay: Overlay,
}

impl Maker {
    fn pick<'t, T: ?Sized>(&mut self, of: &[&'t T]) -> &'t T {
        of.choose(&mut self.rng).unwrap()
    }

    /// Returns a file of the tree.
    fn file(&mut self) -> String {
        let names: Vec<&str> = TREE.iter().map(|(name, _)| *name).collect();
        self.pick(&names).to_owned()
    }

    fn edit(&mut self, name: &str, change: impl FnOnce(&mut StdRng, String) -> String) {
        if let Some(File::Text(text)) = self.overlay.files.get_mut(name) {
            *text = change(&mut self.rng, std::mem::take(text));
        }
    }

    fn add_field(&mut self) -> &'static str {
        let field = self.pick(&FIELDS);
        self.edit("overlay/kustomization.yaml", |_, text| text + field);
        "operator: a field"
    }

    fn change_notation(&mut self) -> &'static str {
        let (from, to) = *NOTATIONS.choose(&mut self.rng).unwrap();
        let all = self.rng.random_bool(0.5);
        let holds = |name: &&str, files: &Overlay| matches!(files.files.get(*name), Some(File::Text(text)) if text.contains(from));
        let names: Vec<&str> = TREE
            .iter()
            .map(|(name, _)| *name)
            .filter(|name| holds(name, &self.overlay))
            .collect();
        let Some(name) = names.choose(&mut self.rng) else {
            return "operator: nothing";
        };
        self.edit(name, |_, text| match all {
            true => text.replace(from, to),
            false => text.replacen(from, to, 1),
        });
        "operator: notation"
    }

    /// Adds an annotation of a tool to the first object of a file.
    fn annotate(&mut self) -> &'static str {
        let annotation = self.pick(&ANNOTATIONS);
        let name = self.file();
        self.edit(&name, |_, text| {
            if text.contains("\n  annotations:\n") {
                let with = format!("\n  annotations:\n    {annotation}\n");
                return text.replacen("\n  annotations:\n", &with, 1);
            }
            let with = format!("metadata:\n  annotations:\n    {annotation}\n");
            text.replacen("metadata:\n", &with, 1)
        });
        "operator: annotation of a tool"
    }

    /// Replaces a file or a directory by a link.
    fn link(&mut self) -> &'static str {
        let (path, target) = *[
            ("rbac/role.yaml", "account.yaml"),
            ("rbac/role.yaml", "../webhook/service.yaml"),
            ("rbac/role.yaml", "kept/role.yaml"),
            ("overlay/metrics_patch.yaml", "webhook_patch.yaml"),
            ("overlay/metrics_patch.yaml", "../manager/manager.yaml"),
            ("manager/config.yaml", "manager.yaml"),
            ("manager/config.yaml", "../rbac/account.yaml"),
            ("manager/config.yaml", "missing"),
            (
                "webhook/kustomizeconfig.yaml",
                "../certmanager/kustomizeconfig.yaml",
            ),
            ("linked", "rbac"),
        ]
        .choose(&mut self.rng)
        .unwrap();
        if let Some(old) = self.overlay.files.remove(path)
            && target == "kept/role.yaml"
        {
            self.overlay.files.insert("rbac/kept/role.yaml".into(), old);
        }
        self.overlay
            .files
            .insert(path.into(), File::Link(target.into()));
        if path == "linked" {
            self.edit("overlay/kustomization.yaml", |_, text| {
                text.replacen("../rbac", "../linked", 1)
            });
        }
        "operator: link"
    }

    /// Removes, repeats, moves or indents a line.
    fn change_lines(&mut self) -> &'static str {
        let name = self.file();
        self.edit(&name, |rng, text| {
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            let at = rng.random_range(0..lines.len());
            match rng.random_range(0..5) {
                0 => drop(lines.remove(at)),
                1 => lines.insert(at, lines[at].clone()),
                2 => lines[at].insert_str(0, "  "),
                3 => lines[at].push_str(" # seen"),
                _ => {
                    let other = rng.random_range(0..lines.len());
                    lines.swap(at, other);
                }
            }
            lines.join("\n") + "\n"
        });
        "operator: lines"
    }

    fn change_encoding(&mut self) -> &'static str {
        let name = self.file();
        self.edit(&name, |rng, text| match rng.random_range(0..5) {
            0 => text.replace('\n', "\r\n"),
            1 => format!("\u{feff}{text}"),
            2 => format!("%YAML 1.1\n---\n{text}"),
            3 => format!("{text}...\n"),
            _ => text.trim_end().to_owned(),
        });
        "operator: encoding"
    }

    fn drop_resource(&mut self) -> &'static str {
        let entry = self.pick(&[
            "- ../crd\n",
            "- ../rbac\n",
            "- ../webhook\n",
            "- ../certmanager\n",
        ]);
        self.edit("overlay/kustomization.yaml", |_, text| {
            text.replacen(entry, "", 1)
        });
        "operator: a resource less"
    }
}
