//! The schemas of an API server: <https://kubernetes.io/docs/concepts/overview/kubernetes-api/#openapi-v3>.

use serde_json::{Map, Value};
use test_cluster::api::Api;

use crate::shape::Shape;

/// All schemas and operations of the groups that we use.
pub(crate) struct Schemas {
    schemas: Map<String, Value>,
    paths: Map<String, Value>,
}

const GROUPS: [&str; 4] = ["api/v1", "apis/authorization.k8s.io/v1", "apis/coordination.k8s.io/v1", "apis/policy/v1"];

impl Schemas {
    pub(crate) fn of(api: &Api) -> Self {
        let mut all = Self { schemas: Map::new(), paths: Map::new() };
        for group in GROUPS {
            let mut document = api.get(&format!("/openapi/v3/{group}")).ok();
            let take = |value: &mut Value| value.as_object_mut().map(std::mem::take).unwrap_or_default();
            all.schemas.extend(take(&mut document["components"]["schemas"]));
            all.paths.extend(take(&mut document["paths"]));
        }
        assert!(all.schemas.len() > 200 && all.paths.len() > 100, "{} schemas, {} paths", all.schemas.len(), all.paths.len());
        all
    }

    /// The schema of the object that a request of `method` to `path` is about.
    pub(crate) fn of_operation(&self, method: &str, path: &str) -> Option<String> {
        let segments: Vec<&str> = path.split('/').collect();
        let fits = |template: &str| {
            let wanted: Vec<&str> = template.split('/').collect();
            wanted.len() == segments.len() && wanted.iter().zip(&segments).all(|(wanted, is)| wanted.starts_with('{') || wanted == is)
        };
        let operation = self.paths.iter().find(|(template, _)| fits(template)).map(|(_, path)| &path[method.to_lowercase()])?;
        let kind = &operation["x-kubernetes-group-version-kind"];
        let is_it =
            |schema: &Value| schema["x-kubernetes-group-version-kind"].as_array().is_some_and(|all| all.len() == 1 && all[0] == *kind);
        self.schemas.iter().find(|(_, schema)| is_it(schema)).map(|(name, _)| name.clone())
    }

    /// What of `shape` the schema `name` does not have.
    pub(crate) fn faults_of_shape(&self, name: &str, shape: &Shape) -> Vec<String> {
        let mut faults = Vec::new();
        self.compare_shape(self.named(name), shape, name, &mut faults);
        faults
    }

    /// What of `value` the schema `name` does not have. `null` removes a field and so has any type.
    pub(crate) fn faults_of_value(&self, name: &str, value: &Value) -> Vec<String> {
        let mut faults = Vec::new();
        self.compare_value(self.named(name), value, name, &mut faults);
        faults
    }

    fn compare_shape(&self, schema: &Value, shape: &Shape, at: &str, faults: &mut Vec<String>) {
        let schema = self.resolved(schema);
        let (wanted, what) = match shape {
            Shape::Ignored => return,
            Shape::Flag => ("boolean", "a flag"),
            Shape::List(_) => ("array", "a list"),
            Shape::Map(_) | Shape::Object(_) => ("object", "an object"),
            Shape::Number => ("integer", "a number"),
            Shape::Moment | Shape::Text => ("string", "a text"),
        };
        if schema["type"] != wanted {
            return faults.push(format!("{at}: we take {what}, it is {}", schema["type"].as_str().unwrap_or("something else")));
        }
        match shape {
            Shape::Moment if schema["format"] != "date-time" => faults.push(format!("{at}: we take a moment, it is any text")),
            Shape::List(of) => self.compare_shape(&schema["items"], of, &format!("{at}[]"), faults),
            Shape::Map(of) => self.compare_shape(&schema["additionalProperties"], of, &format!("{at}[*]"), faults),
            // Some keys of a map, as of the annotations.
            Shape::Object(fields) if schema["additionalProperties"].is_object() => {
                for (name, shape) in fields {
                    self.compare_shape(&schema["additionalProperties"], shape, &format!("{at}[{name}]"), faults);
                }
            }
            // An object whose keys the schema leaves open, as `fieldsV1`: they are those of another schema with `f:` before them.
            Shape::Object(_) if schema.get("properties").is_none() => {}
            Shape::Object(fields) => {
                for (name, shape) in fields {
                    self.inside(schema, at, name, faults, |field, at, faults| self.compare_shape(field, shape, at, faults));
                }
            }
            Shape::Flag | Shape::Ignored | Shape::Moment | Shape::Number | Shape::Text => {}
        }
    }

    fn compare_value(&self, schema: &Value, value: &Value, at: &str, faults: &mut Vec<String>) {
        let schema = self.resolved(schema);
        let (wanted, what) = match value {
            Value::Null => return,
            Value::Bool(_) => ("boolean", "a flag"),
            Value::Array(_) => ("array", "a list"),
            Value::Object(_) => ("object", "an object"),
            Value::Number(_) => ("integer", "a number"),
            Value::String(_) => ("string", "a text"),
        };
        if schema["type"] != wanted {
            return faults.push(format!("{at}: we write {what}, it is {}", schema["type"].as_str().unwrap_or("something else")));
        }
        match value {
            Value::Array(all) => all.iter().for_each(|value| self.compare_value(&schema["items"], value, &format!("{at}[]"), faults)),
            Value::Object(fields) if schema["additionalProperties"].is_object() => {
                fields.values().for_each(|value| self.compare_value(&schema["additionalProperties"], value, &format!("{at}[*]"), faults));
            }
            Value::Object(fields) => {
                for (name, value) in fields {
                    self.inside(schema, at, name, faults, |field, at, faults| self.compare_value(field, value, at, faults));
                }
            }
            Value::Bool(_) | Value::Null | Value::Number(_) | Value::String(_) => {}
        }
    }

    /// Looks at one field of an object, if it is there.
    fn inside(&self, object: &Value, at: &str, name: &str, faults: &mut Vec<String>, look: impl Fn(&Value, &str, &mut Vec<String>)) {
        let at = format!("{at}.{name}");
        match object["properties"].get(name) {
            Some(field) => look(field, &at, faults),
            None => faults.push(format!("{at}: there is no such field")),
        }
    }

    fn named(&self, name: &str) -> &Value {
        self.schemas.get(name).unwrap_or_else(|| panic!("there is no schema {name}"))
    }

    /// A field that is of another schema refers to it, alone or as the only one of `allOf`.
    fn resolved<'a>(&'a self, schema: &'a Value) -> &'a Value {
        let reference = schema.get("$ref").or_else(|| schema["allOf"][0].get("$ref"));
        match reference.and_then(Value::as_str).and_then(|path| path.rsplit('/').next()) {
            Some(name) => self.named(name),
            None => schema,
        }
    }
}
