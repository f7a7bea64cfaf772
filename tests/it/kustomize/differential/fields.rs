//! Fields of kustomizations, one function each, and the overlays that combine them.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng, SeedableRng as _};
use serde_json::{Map, Value, json};

use super::objects::{IMAGES, KINDS, NAMES, object, pick};
use super::overlay::{File, Overlay, ROOT};

/// Generates the overlay of a seed.
pub fn overlay(seed: u64) -> Overlay {
    let mut maker = Maker {
        rng: StdRng::seed_from_u64(seed),
        overlay: Overlay::default(),
        kinds: Vec::new(),
        files: 0,
    };
    maker.make();
    maker.overlay.features.sort_unstable();
    maker.overlay.features.dedup();
    maker.overlay
}

/// Fields of the overlay that are drawn at random. Each is counted separately.
const DRAWN: [&str; 28] = [
    "namePrefix",
    "nameSuffix",
    "namespace",
    "labels",
    "commonLabels",
    "commonAnnotations",
    "images",
    "imageTags",
    "replicas",
    "patches",
    "patches",
    "patchesStrategicMerge",
    "patchesJson6902",
    "replacements",
    "vars",
    "configMapGenerator",
    "secretGenerator",
    "generatorOptions",
    "sortOptions",
    "buildMetadata",
    "generators",
    "transformers",
    "validators",
    "configurations",
    "crds",
    "openapi",
    "components",
    "helmCharts",
];

struct Maker {
    rng: StdRng,
    overlay: Overlay,
    /// Kind, name and namespace of every generated object.
    kinds: Vec<(String, String, String)>,
    files: usize,
}

impl Maker {
    fn make(&mut self) {
        let bases = if self.rng.random_bool(0.2) {
            vec!["base", "more"]
        } else {
            vec!["base"]
        };
        for base in &bases {
            self.kustomization(base, &[], 1);
        }
        let from_bases = bases
            .iter()
            .map(|base| format!("../{base}"))
            .collect::<Vec<_>>();
        self.kustomization(ROOT, &from_bases, 6);
        if self.rng.random_bool(0.12) {
            self.fault();
        }
        self.keep_kinds_of_hashed();
    }

    /// Forbids patches that change kinds if something is generated. If the kind of a generated
    /// object has changed, its name hash in kustomize is that of a parser node, with line and
    /// column in the source. That is no property of the object, and is not reproduced.
    fn keep_kinds_of_hashed(&mut self) {
        let features = &self.overlay.features;
        if !features.iter().any(|feature| {
            ["configMapGenerator", "secretGenerator", "generators"].contains(feature)
        }) {
            return;
        }
        for file in self.overlay.files.values_mut() {
            let File::Fields(fields) = file else { continue };
            for patch in fields
                .get_mut("patches")
                .and_then(Value::as_array_mut)
                .into_iter()
                .flatten()
            {
                if let Some(options) = patch.get_mut("options") {
                    options["allowKindChange"] = json!(false);
                }
            }
        }
    }

    fn chance(&mut self, odds: f64) -> bool {
        self.rng.random_bool(odds)
    }

    fn uses(&mut self, feature: &'static str) {
        self.overlay.features.push(feature);
    }

    fn kustomization(&mut self, directory: &str, resources: &[String], fields: usize) {
        let mut kustomization = Map::new();
        if self.chance(0.4) {
            kustomization.insert(
                "apiVersion".into(),
                json!("kustomize.config.k8s.io/v1beta1"),
            );
            kustomization.insert("kind".into(), json!("Kustomization"));
        }
        let mut list: Vec<Value> = resources.iter().map(|resource| json!(resource)).collect();
        let count = if resources.is_empty() {
            self.rng.random_range(2..6)
        } else {
            self.rng.random_range(0..3)
        };
        if count > 0 {
            let documents = self.documents(count);
            list.push(json!(self.file(
                directory,
                "objects",
                File::Documents(documents)
            )));
        }
        if !resources.is_empty() && self.chance(0.1) {
            self.uses("bases");
            let bases: Vec<Value> = list
                .iter()
                .filter(|name| name.as_str().unwrap().starts_with("../"))
                .cloned()
                .collect();
            list.retain(|name| !name.as_str().unwrap().starts_with("../"));
            kustomization.insert("bases".into(), json!(bases));
        }
        self.uses("resources");
        kustomization.insert("resources".into(), json!(list));
        let most = self.rng.random_range(1..=fields);
        for _ in 0..most.max(fields / 2) + usize::from(fields > 1) {
            let field = *DRAWN.choose(&mut self.rng).unwrap();
            self.field(directory, field, &mut kustomization);
        }
        self.overlay.files.insert(
            format!("{directory}/kustomization.yaml"),
            File::Fields(kustomization),
        );
    }

    fn documents(&mut self, count: usize) -> Vec<Value> {
        let mut documents: Vec<Value> = Vec::new();
        for _ in 0..count {
            let kind = *KINDS.choose(&mut self.rng).unwrap();
            let name = pick(&mut self.rng, &NAMES);
            let made = object(&mut self.rng, kind, name);
            let namespace = made["metadata"]["namespace"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            let id = (kind.to_owned(), name.to_owned(), namespace);
            if !self.kinds.contains(&id) {
                self.kinds.push(id);
                documents.push(made);
            }
        }
        if documents.len() > 1 && self.chance(0.1) {
            self.uses("List");
            return vec![json!({"apiVersion": "v1", "kind": "List", "items": documents})];
        }
        documents
    }

    /// Adds a file. Returns its name.
    fn file(&mut self, directory: &str, stem: &str, file: File) -> String {
        self.files += 1;
        let name = format!("{stem}-{}.yaml", self.files);
        self.overlay
            .files
            .insert(format!("{directory}/{name}"), file);
        name
    }

    /// Returns kind, name and namespace of a random existing object.
    fn random_object(&mut self) -> (String, String, String) {
        self.kinds
            .choose(&mut self.rng)
            .cloned()
            .unwrap_or_default()
    }

    /// Returns a random existing object of one of these kinds, if there is one.
    fn random_object_of(&mut self, kinds: &[&str]) -> Option<(String, String, String)> {
        let fits: Vec<_> = self
            .kinds
            .iter()
            .filter(|(kind, ..)| kinds.contains(&kind.as_str()))
            .cloned()
            .collect();
        fits.choose(&mut self.rng).cloned()
    }

    fn field(&mut self, directory: &str, field: &'static str, into: &mut Map<String, Value>) {
        let value = match field {
            "namePrefix" => json!(pick(&mut self.rng, &["p-", "prod-", "x"])),
            "nameSuffix" => json!(pick(&mut self.rng, &["-s", "-v2"])),
            "namespace" => json!(pick(&mut self.rng, &["team", "default", "prod"])),
            "commonLabels" => {
                json!({"app.kubernetes.io/name": pick(&mut self.rng, &NAMES), "team": "red"})
            }
            "commonAnnotations" => {
                json!({"owner": "me", "note": pick(&mut self.rng, &["a: b", "1", "true", "x y"])})
            }
            "labels" => self.labels(),
            "images" | "imageTags" => self.images(),
            "replicas" => match self.random_object_of(&["Deployment", "StatefulSet", "ReplicaSet"])
            {
                Some((_, name, _)) => json!([{"name": name, "count": self.rng.random_range(0..5)}]),
                None => return,
            },
            "patches" => self.patches(directory),
            "patchesStrategicMerge" => {
                match self.random_object_of(&["Deployment", "Service", "ConfigMap", "StatefulSet"])
                {
                    Some(id) => {
                        let patch = self.strategic(&id);
                        json!([self.file(directory, "patch", File::Documents(vec![patch]))])
                    }
                    None => return,
                }
            }
            "patchesJson6902" => {
                let (kind, name, namespace) = self.random_object();
                let operations = self.operations(&kind);
                let mut target = json!({"kind": kind, "name": name});
                if !namespace.is_empty() {
                    target["namespace"] = json!(namespace);
                }
                let path = self.file(directory, "operations", File::Documents(vec![operations]));
                json!([{"target": target, "path": path}])
            }
            "replacements" => match self.replacements(directory) {
                Some(value) => value,
                None => return,
            },
            "vars" => match self.random_object_of(&["Service", "ConfigMap", "Deployment"]) {
                Some((kind, name, namespace)) => {
                    let version = if kind == "Deployment" {
                        "apps/v1"
                    } else {
                        "v1"
                    };
                    let path = match kind.as_str() {
                        "Service" => pick(&mut self.rng, &["metadata.name", "spec.ports[0].port"]),
                        "ConfigMap" => pick(&mut self.rng, &["metadata.name", "data.host"]),
                        _ => "spec.template.spec.containers[0].image",
                    };
                    let mut reference = json!({"apiVersion": version, "kind": kind, "name": name});
                    if !namespace.is_empty() {
                        reference["namespace"] = json!(namespace);
                    }
                    json!([{"name": pick(&mut self.rng, &["HOST", "PORT"]), "objref": reference, "fieldref": {"fieldPath": path}}])
                }
                None => return,
            },
            "configMapGenerator" => self.generator(directory, false),
            "secretGenerator" => self.generator(directory, true),
            "generatorOptions" => {
                let generators = self.generator(directory, false);
                into.entry("configMapGenerator").or_insert(generators);
                json!({"disableNameSuffixHash": self.chance(0.5), "labels": {"gen": "yes"}, "annotations": {"made": "1"}, "immutable": self.chance(0.3)})
            }
            "sortOptions" => match self.rng.random_range(0..3) {
                0 => json!({"order": "fifo"}),
                1 => json!({"order": "legacy"}),
                _ => {
                    json!({"order": "legacy", "legacySortOptions": {"orderFirst": ["Deployment"], "orderLast": ["ConfigMap", "Secret"]}})
                }
            },
            "buildMetadata" => {
                let options = [
                    "originAnnotations",
                    "transformerAnnotations",
                    "managedByLabel",
                ];
                json!(
                    options
                        .iter()
                        .filter(|_| self.rng.random_bool(0.6))
                        .collect::<Vec<_>>()
                )
            }
            "generators" => {
                let name = pick(&mut self.rng, &["made", "more"]);
                let plugin = json!({"apiVersion": "builtin", "kind": pick(&mut self.rng, &["ConfigMapGenerator", "SecretGenerator"]),
                    "metadata": {"name": name}, "literals": ["k=v", "l='quoted'"]});
                json!([self.file(directory, "generator", File::Documents(vec![plugin]))])
            }
            "transformers" => {
                let plugin = self.transformer();
                json!([self.file(directory, "transformer", File::Documents(vec![plugin]))])
            }
            "validators" => {
                let plugin = json!({"apiVersion": "builtin", "kind": "LabelTransformer", "metadata": {"name": "v"}, "labels": {"a": "b"},
                    "fieldSpecs": if self.chance(0.1) { json!([{"path": "metadata/labels", "create": true}]) } else { json!([]) }});
                json!([self.file(directory, "validator", File::Documents(vec![plugin]))])
            }
            "configurations" => {
                let configuration = json!({
                    "nameReference": [{"kind": "ConfigMap", "version": "v1", "fieldSpecs": [{"kind": "Widget", "path": "spec/configRef/name"}]}],
                    "images": [{"kind": "Widget", "path": "spec/image"}],
                    "commonLabels": [{"kind": "Widget", "path": "spec/selector", "create": true}],
                    "varReference": [{"kind": "ConfigMap", "path": "data"}],
                });
                json!([self.file(
                    directory,
                    "configuration",
                    File::Documents(vec![configuration])
                )])
            }
            "crds" => {
                let crd = json!({
                    "org.example.Widget": {"Schema": {"properties": {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {}, "spec": {"$ref": "org.example.WidgetSpec"}}}},
                    "org.example.WidgetSpec": {"Schema": {"properties": {"configRef": {"x-kubernetes-object-ref-api-version": "v1", "x-kubernetes-object-ref-kind": "ConfigMap"}, "notes": {"x-kubernetes-annotation": ""}}}},
                });
                json!([self.file(directory, "crd", File::Documents(vec![crd]))])
            }
            "openapi" => {
                if self.chance(0.3) {
                    json!({"version": "v1.21.2"})
                } else {
                    let schema = json!({"definitions": {"v1.Widget": {"type": "object",
                        "properties": {"spec": {"properties": {"parts": {"type": "array", "x-kubernetes-patch-merge-key": "name", "x-kubernetes-patch-strategy": "merge", "items": {"type": "object"}}}}},
                        "x-kubernetes-group-version-kind": [{"group": "example.org", "kind": "Widget", "version": "v1"}]}}});
                    json!({"path": self.file(directory, "schema", File::Documents(vec![schema]))})
                }
            }
            "components" => {
                self.files += 1;
                let name = format!("component-{}", self.files);
                self.component(&name);
                json!([format!("../{name}")])
            }
            "helmCharts" => self.charts(directory, into),
            other => panic!("no field {other}"),
        };
        self.uses(field);
        match (into.get_mut(field), value) {
            (Some(Value::Array(known)), Value::Array(more)) => known.extend(more),
            (Some(_), _) => {}
            (None, value) => drop(into.insert(field.into(), value)),
        }
    }

    fn component(&mut self, directory: &str) {
        let mut fields = Map::new();
        fields.insert(
            "apiVersion".into(),
            json!("kustomize.config.k8s.io/v1alpha1"),
        );
        fields.insert("kind".into(), json!("Component"));
        let plain = [
            "namePrefix",
            "labels",
            "images",
            "patches",
            "configMapGenerator",
            "commonAnnotations",
        ];
        for _ in 0..2 {
            let field = *plain.choose(&mut self.rng).unwrap();
            self.field(directory, field, &mut fields);
        }
        if self.chance(0.4) {
            let documents = self.documents(1);
            if !documents.is_empty() {
                fields.insert(
                    "resources".into(),
                    json!([self.file(directory, "objects", File::Documents(documents))]),
                );
            }
        }
        self.overlay.files.insert(
            format!("{directory}/kustomization.yaml"),
            File::Fields(fields),
        );
    }

    fn labels(&mut self) -> Value {
        let mut entry = json!({"pairs": {"tier": "gold", pick(&mut self.rng, &["x/y", "env"]): pick(&mut self.rng, &["1", "prod"])}});
        if self.chance(0.4) {
            entry["includeSelectors"] = json!(true);
        } else if self.chance(0.4) {
            entry["includeTemplates"] = json!(true);
        } else if self.chance(0.3) {
            entry["fields"] =
                json!([{"path": "spec/extra/labels", "kind": "Widget", "create": true}]);
        }
        json!([entry])
    }

    fn images(&mut self) -> Value {
        let name = pick(&mut self.rng, &IMAGES);
        let name = name.split('@').next().unwrap();
        let name = name
            .rsplit_once(':')
            .filter(|(_, tag)| !tag.contains('/'))
            .map_or(name, |(name, _)| name);
        let mut entry = json!({"name": name});
        if self.chance(0.4) {
            entry["newName"] = json!("mirror.local/x");
        }
        match self.rng.random_range(0..4) {
            0 => entry["newTag"] = json!("9.9"),
            1 => {
                entry["digest"] =
                    json!("sha256:fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210")
            }
            2 => entry["tagSuffix"] = json!("-slim"),
            _ => entry["newTag"] = json!("v2"),
        }
        json!([entry])
    }

    fn strategic(&mut self, (kind, name, namespace): &(String, String, String)) -> Value {
        let version = object(&mut StdRng::seed_from_u64(0), kind, name)["apiVersion"].clone();
        let mut patch = json!({"apiVersion": version, "kind": kind, "metadata": {"name": name}});
        if !namespace.is_empty() {
            patch["metadata"]["namespace"] = json!(namespace);
        }
        if self.chance(0.3) {
            patch["metadata"]["annotations"] = json!({"patched": "yes", "note": null});
        }
        let container = match self.rng.random_range(0..5) {
            0 => {
                json!({"name": "main", "env": [{"name": "PLAIN", "value": "new"}, {"name": "ADDED", "value": "1"}]})
            }
            1 => json!({"name": "side", "$patch": "delete"}),
            2 => json!({"name": "extra", "image": "extra:1"}),
            3 => {
                json!({"name": "main", "ports": [{"containerPort": 80, "protocol": "TCP", "name": "http"}], "args": null})
            }
            _ => {
                json!({"name": "main", "image": "patched:1", "resources": {"limits": {"cpu": null, "x": 1}}})
            }
        };
        match kind.as_str() {
            "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" => {
                patch["spec"] = json!({"template": {"spec": {"containers": [container], "volumes": [{"name": "new", "emptyDir": {}}]}}});
            }
            "Job" => {
                patch["spec"] = json!({"template": {"spec": {"containers": [container]}}});
            }
            "Service" => {
                patch["spec"] = json!({"ports": [{"port": 80, "name": "http"}, {"port": 8080}], "type": "NodePort"})
            }
            "ConfigMap" | "Secret" => patch["data"] = json!({"a": null, "c": "bmV3"}),
            "Widget" => {
                patch["spec"] = json!({"parts": [{"name": "two", "size": 22}, {"name": "three"}]});
            }
            _ => {
                patch["metadata"]["labels"] = json!({"patched": "yes"});
            }
        }
        if self.chance(0.04) {
            return json!({"apiVersion": patch["apiVersion"], "kind": kind, "metadata": patch["metadata"], "$patch": "delete"});
        }
        patch
    }

    fn operations(&mut self, kind: &str) -> Value {
        let mut operations = vec![match self.rng.random_range(0..4) {
            0 => json!({"op": "add", "path": "/metadata/annotations/json", "value": "yes"}),
            1 => json!({"op": "add", "path": "/metadata/labels", "value": {"only": "this"}}),
            2 => json!({"op": "add", "path": "/metadata/annotations", "value": {"a~b": "1"}}),
            _ => json!({"op": "add", "path": "/extra", "value": [1, 2.5, null, true, {"k": "v"}]}),
        }];
        match kind {
            "Deployment" | "StatefulSet" | "DaemonSet" => {
                operations.push(
                    json!({"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "json:1"}),
                );
                operations.push(json!({"op": "add", "path": "/spec/template/spec/containers/-", "value": {"name": "last", "image": "l"}}));
                operations.push(
                    json!({"op": "copy", "from": "/metadata/name", "path": "/spec/template/metadata/labels/copied"}),
                );
            }
            "Service" => operations.push(json!({"op": "remove", "path": "/spec/ports/0"})),
            "ConfigMap" => {
                operations.push(json!({"op": "move", "from": "/data/a", "path": "/data/moved"}))
            }
            _ => {}
        }
        json!(operations)
    }

    fn patches(&mut self, directory: &str) -> Value {
        let id = self.random_object();
        let mut entry = json!({});
        let is_json = self.chance(0.4);
        if is_json {
            entry["patch"] = json!(super::overlay::block(&self.operations(&id.0)));
        } else {
            let patch = self.strategic(&id);
            if self.chance(0.5) {
                entry["path"] = json!(self.file(directory, "patch", File::Documents(vec![patch])));
            } else {
                entry["patch"] = json!(super::overlay::block(&patch));
            }
        }
        if is_json || self.chance(0.4) {
            let mut target = Map::new();
            match self.rng.random_range(0..5) {
                0 => drop(target.insert("kind".into(), json!(id.0))),
                1 => drop(target.insert(
                    "name".into(),
                    json!(pick(&mut self.rng, &["web|api", ".*", "w.*", "db"])),
                )),
                2 => drop(target.insert(
                    "labelSelector".into(),
                    json!(pick(
                        &mut self.rng,
                        &["app", "tier in (front, back)", "app!=web", "!tier"]
                    )),
                )),
                3 => {
                    target.insert("kind".into(), json!(id.0));
                    target.insert("name".into(), json!(id.1));
                }
                _ => drop(target.insert("annotationSelector".into(), json!("note"))),
            }
            if is_json && !target.contains_key("kind") {
                target.insert("kind".into(), json!(id.0));
            }
            entry["target"] = Value::Object(target);
        }
        if self.chance(0.1) {
            entry["options"] =
                json!({"allowNameChange": true, "allowKindChange": self.chance(0.5)});
        }
        json!([entry])
    }

    fn replacements(&mut self, directory: &str) -> Option<Value> {
        let (kind, name, _) = self.random_object_of(&["ConfigMap", "Service", "Deployment"])?;
        let path = match kind.as_str() {
            "ConfigMap" => pick(
                &mut self.rng,
                &["data.host", "metadata.name", "data.[b.yaml]"],
            ),
            "Service" => pick(&mut self.rng, &["spec.ports.0.port", "metadata.name"]),
            _ => pick(
                &mut self.rng,
                &[
                    "spec.template.spec.containers.[name=main].image",
                    "metadata.name",
                ],
            ),
        };
        let mut source = json!({"kind": kind, "name": name, "fieldPath": path});
        if path == "data.host" && self.chance(0.5) {
            source["options"] = json!({"delimiter": ":", "index": self.rng.random_range(0..2)});
        }
        let mut target = match self.rng.random_range(0..4) {
            0 => {
                json!({"select": {"kind": "Deployment"}, "fieldPaths": ["spec.template.spec.containers.*.image"]})
            }
            1 => {
                json!({"select": {"kind": "ConfigMap"}, "fieldPaths": ["data.replaced"], "options": {"create": true}})
            }
            2 => {
                json!({"select": {"kind": "Service"}, "fieldPaths": ["metadata.annotations.from", "spec.ports.[port=80].note"], "options": {"create": true}})
            }
            _ => {
                json!({"select": {"name": pick(&mut self.rng, &NAMES)}, "fieldPaths": ["metadata.labels.value"], "options": {"create": true}})
            }
        };
        if self.chance(0.3) {
            target["reject"] = json!([{"name": pick(&mut self.rng, &NAMES)}]);
        }
        let replacement = json!({"source": source, "targets": [target]});
        Some(if self.chance(0.3) {
            json!([{"path": self.file(directory, "replacement", File::Documents(vec![replacement]))}])
        } else {
            json!([replacement])
        })
    }

    fn generator(&mut self, directory: &str, secret: bool) -> Value {
        let name = pick(&mut self.rng, &["settings", "creds", "generated", "web"]);
        let mut entry = json!({"name": name});
        let kind = if secret { "Secret" } else { "ConfigMap" };
        let is_there = self
            .kinds
            .iter()
            .any(|(known, other, ns)| known == kind && other == name && ns.is_empty());
        if is_there && directory == ROOT {
            entry["behavior"] = json!(pick(&mut self.rng, &["merge", "replace"]));
        } else if is_there {
            entry["name"] = json!(format!("{name}-more"));
        } else {
            self.kinds.push((kind.into(), name.into(), String::new()));
        }
        if self.chance(0.8) {
            entry["literals"] = json!(["a=1", "b=\"two words\"", "c=x=y", "u=é"]);
        }
        if self.chance(0.4) {
            let text = pick(
                &mut self.rng,
                &["line\nline\n", "k: v # c\n", "", "tab\tin\r\n"],
            )
            .to_owned();
            let file = self.file(directory, "data", File::Text(text));
            entry["files"] = json!([if self.chance(0.5) {
                format!("renamed.txt={file}")
            } else {
                file
            }]);
        }
        if self.chance(0.3) {
            let file = self.file(
                directory,
                "env",
                File::Text("# c\nE1=v1\n  E2 = v 2 \nE3=\n".into()),
            );
            entry["envs"] = json!([file]);
        }
        if self.chance(0.3) {
            entry["options"] = json!({"disableNameSuffixHash": self.chance(0.5), "labels": {"own": "1"}, "immutable": true});
        }
        if secret && self.chance(0.3) {
            entry["type"] = json!("example.org/kind");
        }
        json!([entry])
    }

    fn transformer(&mut self) -> Value {
        let mut plugin = match self.rng.random_range(0..9) {
            0 => {
                json!({"kind": "PrefixTransformer", "prefix": "t-", "fieldSpecs": [{"path": "metadata/name"}]})
            }
            1 => {
                json!({"kind": "LabelTransformer", "labels": {"by": "plugin"}, "fieldSpecs": [{"path": "metadata/labels", "create": true}]})
            }
            2 => {
                json!({"kind": "AnnotationsTransformer", "annotations": {"by": "plugin"}, "fieldSpecs": [{"path": "metadata/annotations", "create": true, "kind": "Service"}]})
            }
            3 => {
                json!({"kind": "NamespaceTransformer", "fieldSpecs": [{"path": "metadata/name", "kind": "Namespace", "create": true}],
                "unsetOnly": self.chance(0.5), "setRoleBindingSubjects": pick(&mut self.rng, &["defaultOnly", "allServiceAccounts", "none"])})
            }
            4 => {
                json!({"kind": "ImageTagTransformer", "imageTag": {"name": "nginx", "newTag": "t"}, "fieldSpecs": [{"path": "spec/template/spec/containers[]/image"}]})
            }
            5 => {
                json!({"kind": "SuffixTransformer", "suffix": "-t", "fieldSpecs": [{"path": "metadata/name", "kind": "ConfigMap"}]})
            }
            6 => {
                json!({"kind": "PatchTransformer", "patch": "[{\"op\": \"add\", \"path\": \"/metadata/annotations/t\", \"value\": \"1\"}]", "target": {"kind": "Deployment|Service"}})
            }
            7 => {
                json!({"kind": "ValueAddTransformer", "value": "added", "targets": [{"fieldPath": "metadata/annotations/v", "selector": {"kind": "ConfigMap"}}]})
            }
            _ => {
                json!({"kind": "PatchStrategicMergeTransformer", "patches": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {t: t}\n"})
            }
        };
        plugin["apiVersion"] = json!("builtin");
        plugin["metadata"] = json!({"name": "t", "namespace": "moved"});
        plugin
    }

    fn charts(&mut self, directory: &str, into: &mut Map<String, Value>) -> Value {
        let home = if self.chance(0.4) {
            "vendored"
        } else {
            "charts"
        };
        if home == "vendored" {
            self.uses("helmGlobals");
            into.insert("helmGlobals".into(), json!({"chartHome": home}));
        } else if let Some(globals) = into
            .get("helmGlobals")
            .and_then(|globals| globals["chartHome"].as_str())
        {
            let _ = globals;
        }
        for home in ["charts", "vendored"] {
            let chart = format!("{directory}/{home}/tiny");
            let text = |text: &str| File::Text(text.to_owned());
            self.overlay.files.insert(
                format!("{chart}/Chart.yaml"),
                text("apiVersion: v2\nname: tiny\nversion: 0.1.0\n"),
            );
            self.overlay.files.insert(
                format!("{chart}/values.yaml"),
                text("replicas: 1\nlabels: {a: b}\non: true\n"),
            );
            self.overlay.files.insert(
                format!("{chart}/templates/all.yaml"),
                text(
                    "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name \
                     }}-chart\n  namespace: {{ .Release.Namespace }}\n  labels: {{ toYaml \
                     .Values.labels | nindent 4 }}\ndata:\n  replicas: {{ .Values.replicas | \
                     quote }}\n",
                ),
            );
        }
        let mut entry =
            json!({"name": "tiny", "releaseName": pick(&mut self.rng, &["one", "two"])});
        if self.chance(0.5) {
            entry["valuesInline"] = json!({"replicas": 3, "labels": {"c": "d", "a": null}});
            entry["valuesMerge"] = json!(pick(&mut self.rng, &["override", "merge", "replace"]));
        }
        if self.chance(0.3) {
            entry["namespace"] = json!("charted");
        }
        json!([entry])
    }

    /// Adds an error to the overlay.
    fn fault(&mut self) {
        self.uses("fault");
        let kind = self.rng.random_range(0..8);
        let Some(File::Fields(fields)) = self
            .overlay
            .files
            .get_mut(&format!("{ROOT}/kustomization.yaml"))
        else {
            return;
        };
        let (field, value) = match kind {
            0 => ("resources", json!(["missing.yaml"])),
            1 => ("nameprefixes", json!("x")),
            2 => (
                "patches",
                json!([{"patch": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: nosuch}\n"}]),
            ),
            3 => (
                "configMapGenerator",
                json!([{"name": "nosuch", "behavior": "merge", "literals": ["a=b"]}]),
            ),
            4 => (
                "replacements",
                json!([{"source": {"kind": "ConfigMap", "name": "nosuch"}, "targets": [{"select": {"kind": "Secret"}}]}]),
            ),
            5 => ("replicas", json!([{"name": "nosuch", "count": 1}])),
            6 => (
                "patches",
                json!([{"target": {"kind": ".*"}, "patch": "[{\"op\": \"remove\", \"path\": \"/no/such\"}]"}]),
            ),
            _ => ("components", json!(["../base"])),
        };
        match (fields.get_mut(field), value) {
            (Some(Value::Array(known)), Value::Array(more)) => known.extend(more),
            (_, value) => drop(fields.insert(field.into(), value)),
        }
    }
}
