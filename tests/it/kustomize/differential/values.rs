//! Overlays of few objects with odd values: scalars in every style and with tags, lists whose items
//! lack keys or have them twice, merge keys, and replacements into texts.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

use super::overlay::{File, Overlay};

/// Scalars as they are written.
const SCALARS: [&str; 33] = [
    "",
    "~",
    "null",
    "5",
    "\"5\"",
    "0x1F",
    "010",
    "1e3",
    "1.50",
    "yes",
    "\"yes\"",
    "'no'",
    "2020-01-01",
    "2020-01-01 10:00:00",
    "2020-01-01T10:00:00Z",
    "true",
    "True",
    "!!str 5",
    "!!int \"5\"",
    "!!float 5",
    "!!bool \"true\"",
    "!ref x",
    "!ref",
    "! 5",
    "!!null \"\"",
    "!!timestamp 2020-01-01",
    "!!binary aGk=",
    "a b",
    "1_0",
    "+1",
    "12:30:45",
    "\"a: b\"",
    "y",
];

const KEYS: [&str; 6] = ["a", "b", "c", "\"d\"", "a", "\"5\""];

pub fn overlay(seed: u64) -> Overlay {
    let mut maker = Maker(StdRng::seed_from_u64(seed));
    let mut overlay = Overlay::default();
    let (feature, files) = match maker.0.random_range(0..4) {
        0 => ("odd scalars", maker.scalars()),
        1 => ("odd list items", maker.lists()),
        2 => ("merge keys", maker.merge_keys()),
        _ => ("replacements in texts", maker.replacements()),
    };
    overlay.features.push(feature);
    for (name, text) in files {
        overlay
            .files
            .insert(format!("overlay/{name}"), File::Text(text));
    }
    overlay
}

struct Maker(StdRng);

type Files = Vec<(&'static str, String)>;

impl Maker {
    fn one_in(&mut self, count: u32) -> bool {
        self.0.random_range(0..count) == 0
    }

    fn pick<'t>(&mut self, texts: &[&'t str]) -> &'t str {
        texts.choose(&mut self.0).unwrap()
    }

    fn scalars(&mut self) -> Files {
        let mut object = || {
            let fields: String = ["f1", "f2", "f3"]
                .map(|name| format!("  {name}: {}\n", self.value(false, 0, 2)))
                .concat();
            format!("apiVersion: a.test/v1\nkind: Foo\nmetadata: {{name: p}}\nspec:\n{fields}")
        };
        let (resource, patch) = (object(), object());
        let patches = self.pick(&["", "patches: [{path: p.yaml}]\n", "patchesStrategicMerge: [p.yaml]\n",
            "patches: [{target: {kind: Foo}, patch: '[{\"op\": \"add\", \"path\": \"/spec/new\", \"value\": \"5\"}]'}]\n"]);
        vec![
            ("r.yaml", resource),
            ("p.yaml", patch),
            (
                "kustomization.yaml",
                format!("resources: [r.yaml]\n{patches}"),
            ),
        ]
    }

    /// Returns a value as it is written after a key.
    fn value(&mut self, in_flow: bool, depth: usize, indent: usize) -> String {
        let choice = if depth < 3 {
            self.0.random_range(0..20)
        } else {
            19
        };
        match choice {
            0..3 => {
                let keys = self.keys();
                let members: Vec<String> = keys
                    .iter()
                    .map(|key| format!("{key}: {}", self.value(true, depth + 1, 0)))
                    .collect();
                format!("{{{}}}", members.join(", "))
            }
            3..6 => {
                let count = self.0.random_range(0..4);
                let items: Vec<String> =
                    (0..count).map(|_| self.value(true, depth + 1, 0)).collect();
                let items: Vec<&str> = items
                    .iter()
                    .map(|item| if item.is_empty() { "z" } else { item })
                    .collect();
                format!("[{}]", items.join(", "))
            }
            6..8 if !in_flow => self.block_text(indent),
            8..11 if !in_flow => {
                let pad = " ".repeat(indent + 2);
                let keys = self.keys();
                let lines: String = keys
                    .iter()
                    .map(|key| {
                        format!("\n{pad}{key}: {}", self.value(false, depth + 1, indent + 2))
                    })
                    .collect();
                if lines.is_empty() { "x".into() } else { lines }
            }
            _ => self.pick(&SCALARS).to_owned(),
        }
    }

    fn keys(&mut self) -> Vec<&'static str> {
        let mut keys: Vec<&str> = (0..self.0.random_range(0..4))
            .map(|_| self.pick(&KEYS))
            .collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    fn block_text(&mut self, indent: usize) -> String {
        let pad = " ".repeat(indent + 2);
        let count = self.0.random_range(1..6);
        let lines: Vec<&str> = (0..count)
            .map(|_| self.pick(&["x", "x y", "  deep", "", "\ttab"]))
            .collect();
        let lines = if lines.iter().all(|line| line.is_empty()) {
            vec!["x"]
        } else {
            lines
        };
        let text: String = lines
            .iter()
            .map(|line| {
                if line.is_empty() {
                    "\n".to_owned()
                } else {
                    format!("{pad}{line}\n")
                }
            })
            .collect();
        let head = format!("{}2", self.pick(&[">", ">-", ">+", "|", "|+"]));
        format!("{head}\n{}", text.trim_end_matches('\n'))
    }

    fn lists(&mut self) -> Files {
        let of_ports = self.one_in(2);
        let mut pod = || {
            let count = self.0.random_range(0..4);
            let items: Vec<String> = (0..count).map(|_| self.item(of_ports)).collect();
            let list = format!("[{}]", items.join(", "));
            let spec = match of_ports {
                true => format!("containers: [{{name: c, ports: {list}}}]"),
                false => format!("containers: {list}"),
            };
            format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\nspec:\n  {spec}\n")
        };
        let (resource, patch) = (pod(), pod());
        vec![
            ("r.yaml", resource),
            ("p.yaml", patch),
            (
                "kustomization.yaml",
                "resources: [r.yaml]\npatches: [{path: p.yaml}]\n".into(),
            ),
        ]
    }

    fn item(&mut self, of_ports: bool) -> String {
        if self.one_in(20) {
            return self.pick(&["~", "text", "{}", "5"]).to_owned();
        }
        let members: &[(&str, &[&str], u32)] = match of_ports {
            true => &[
                ("containerPort", &["80", "81", "\"80\""], 9),
                ("protocol", &["TCP", "UDP"], 6),
                ("name", &["a", "b"], 6),
            ],
            false => &[
                ("name", &["a", "b", "\"a\"", "1", "\"1\"", "~"], 8),
                ("image", &["x", "y", "\"5\"", "5", "~"], 7),
            ],
        };
        let mut written = Vec::new();
        for (name, values, tenths) in members {
            if self.0.random_range(0..10) < *tenths {
                written.push(format!("{name}: {}", self.pick(values)));
            }
        }
        if self.one_in(8) {
            written.push(format!(
                "$patch: {}",
                self.pick(&["delete", "replace", "merge"])
            ));
        }
        format!("{{{}}}", written.join(", "))
    }

    fn merge_keys(&mut self) -> Files {
        let base = format!("&b {{x: {}, y: 1, z: {{w: 2}}}}", self.pick(&SCALARS));
        let own = self.pick(&["", ", x: own", ", y: ~"]);
        let merged = self.pick(&["*b", "[*b, {q: 1}]", "[{x: first}, *b]", "{x: 3}"]);
        let resource = format!(
            "apiVersion: a.test/v1\nkind: Foo\nmetadata:\n  name: p\n  labels: &l {{app: a}}\nspec:\n  base: {base}\n  \
             copy: {{<<: {merged}{own}}}\n  template: {{metadata: {{labels: {{<<: *l, more: m}}}}}}\n"
        );
        let patch = format!(
            "apiVersion: a.test/v1\nkind: Foo\nmetadata: {{name: p}}\nspec: {{copy: {{x: {}, z: {{w: ~}}}}}}\n",
            self.pick(&SCALARS)
        );
        let patches = self.pick(&["", "patches: [{path: p.yaml}]\n"]);
        let labels = self.pick(&[
            "",
            "labels: [{pairs: {app: new}, includeTemplates: true}]\n",
        ]);
        vec![
            ("r.yaml", resource),
            ("p.yaml", patch),
            (
                "kustomization.yaml",
                format!("resources: [r.yaml]\n{patches}{labels}"),
            ),
        ]
    }

    fn replacements(&mut self) -> Files {
        let text = match self.0.random_range(0..3) {
            0 => format!(
                "a: {}\nb: {}\nn:\n  m: {}\nl:\n- name: i\n  v: 1\n- name: j\n  v: {}\n",
                self.pick(&SCALARS), self.pick(&SCALARS), self.pick(&SCALARS), self.pick(&SCALARS)
            ),
            1 => self.pick(&["{\"a\": \"x\", \"n\": {\"m\": 5}, \"l\": [{\"name\": \"i\", \"v\": 1.50}], \"z\": \"<&>\"}",
                "{\n  \"n\": {\"m\": \"x\"},\n  \"a\": 1,\n  \"l\": []\n}\n", "{\"a\":null,\"n\":{},\"l\":[1,2]}"]).to_owned(),
            _ => self.pick(&["just text", "nginx:1", "- a\n- b\n", "[x, y]", "{a: x, n: {m: 1}, l: [{name: i, v: q}]}"]).to_owned(),
        };
        let block: String = text
            .trim_end()
            .lines()
            .map(|line| format!("    {line}\n"))
            .collect();
        let mut resource = format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c}}\ndata:\n  plain: \"abc\"\n  num: 5\n  t: |\n{block}---\n"
        );
        resource.push_str("apiVersion: a.test/v1\nkind: Foo\nmetadata: {name: s}\nspec:\n");
        for (at, scalar) in SCALARS.iter().enumerate() {
            resource.push_str(&format!("  k{at}: {scalar}\n"));
        }
        let path = self.pick(&[
            "data.t.a",
            "data.t.n.m",
            "data.t.l.[name=i].v",
            "data.t.l.0",
            "data.t.l.0.v",
            "data.t.new",
            "data.t.n.new.x",
            "data.t.l.*.v",
            "data.t.b",
            "data.plain",
            "data.num",
            "data.t.l.[name=i.*].v",
            "data.newkey",
        ]);
        let options = self.pick(&["", ", options: {create: true}"]);
        let source = self.0.random_range(0..SCALARS.len());
        let kustomization = format!(
            "resources: [r.yaml]\nreplacements:\n- source: {{kind: Foo, fieldPath: spec.k{source}}}\n  \
             targets: [{{select: {{kind: ConfigMap}}, fieldPaths: [\"{path}\"]{options}}}]\n"
        );
        vec![("r.yaml", resource), ("kustomization.yaml", kustomization)]
    }
}
