//! Schemas as a table of nodes, so that a walk follows indexes and recursive types need no care.

use std::collections::{BTreeMap, HashMap};

use datafusion::arrow::datatypes::TimeUnit;
use serde_json::{Map, Value};

/// A schema that values were written with.
#[derive(Debug)]
pub(crate) struct Schema {
    nodes: Vec<Node>,
    /// The type of the whole value.
    pub(crate) root: NodeId,
}

/// A type, by its place in its schema.
pub(crate) type NodeId = usize;

/// One type.
#[derive(Debug)]
pub(crate) struct Node {
    /// How it is written.
    pub(crate) shape: Shape,
    /// What that stands for.
    pub(crate) meaning: Meaning,
    /// The most digits of a decimal, where the schema says it.
    pub(crate) precision: Option<u64>,
    /// The full name of a record, an enum or a fixed.
    pub(crate) name: Option<String>,
    /// What Kafka Connect's converter noted, where it noted something.
    pub(crate) connect: Option<Box<Connect>>,
}

/// What Kafka Connect's converter notes of a type.
#[derive(Debug, Default)]
pub(crate) struct Connect {
    /// `connect.name`, such as `io.debezium.time.Date`.
    pub(crate) name: Option<String>,
    /// `connect.type`: `int8` and `int16`, which Avro does not have.
    pub(crate) narrow: Option<String>,
    /// `connect.parameters`.
    pub(crate) parameters: BTreeMap<String, String>,
}

/// How a value is written.
#[derive(Debug)]
pub(crate) enum Shape {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Fixed(usize),
    Enum(Vec<String>),
    Array(NodeId),
    /// Keys are strings.
    Map(NodeId),
    Union(Vec<NodeId>),
    Record(Vec<(String, NodeId)>),
}

/// What a value stands for, beyond its shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// Just what it is.
    Plain,
    /// Big-endian two's complement, this many of its digits behind the point.
    Decimal(i32),
    /// Debezium's record of a scale and an unscaled value.
    VariableScaleDecimal,
    /// Days since the epoch.
    Date,
    /// Since midnight; MySQL's may be negative or longer than a day.
    TimeOfDay(TimeUnit),
    /// Since the epoch.
    Instant(TimeUnit),
    /// Sixteen bytes.
    Uuid,
    /// Months, days and milliseconds, four bytes each.
    Duration,
    /// Little-endian bits, as Debezium writes BIT(n).
    Bits,
}

impl Schema {
    /// Parses a schema; `references` are the schemas of types that it names, those first that others name.
    pub(crate) fn parse(text: &str, references: &[String]) -> Result<Self, String> {
        let mut parser = Parser { nodes: Vec::new(), names: HashMap::new() };
        for reference in references {
            parser.parse(reference)?;
        }
        let root = parser.parse(text)?;
        Ok(Self { nodes: parser.nodes, root })
    }

    /// The schema of nothing, for records that have none.
    pub(crate) fn nothing() -> Self {
        let null = Node { shape: Shape::Null, meaning: Meaning::Plain, precision: None, name: None, connect: None };
        Self { nodes: vec![null], root: 0 }
    }

    /// A type.
    #[inline]
    pub(crate) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id]
    }

    /// The fields of a record, or of the only record in a union.
    pub(crate) fn record(&self, id: NodeId) -> Option<(NodeId, &[(String, NodeId)])> {
        match &self.node(id).shape {
            Shape::Record(fields) => Some((id, fields)),
            Shape::Union(branches) => branches.iter().find_map(|&branch| match &self.node(branch).shape {
                Shape::Record(fields) => Some((branch, fields.as_slice())),
                _ => None,
            }),
            _ => None,
        }
    }

    /// Connect's name of a type, or Avro's.
    pub(crate) fn name(&self, id: NodeId) -> Option<&str> {
        let node = self.node(id);
        node.connect.as_ref().and_then(|connect| connect.name.as_deref()).or(node.name.as_deref())
    }
}

struct Parser {
    nodes: Vec<Node>,
    /// Named types, by full name.
    names: HashMap<String, NodeId>,
}

impl Parser {
    fn parse(&mut self, text: &str) -> Result<NodeId, String> {
        let json = serde_json::from_str(text).map_err(|error| format!("the schema is not JSON: {error}"))?;
        self.node(&json, "")
    }

    fn node(&mut self, json: &Value, namespace: &str) -> Result<NodeId, String> {
        match json {
            Value::String(name) => match primitive(name) {
                Some(shape) => Ok(self.add(shape, Meaning::Plain, None)),
                None => self.named(name, namespace),
            },
            Value::Array(branches) => {
                let branches = branches.iter().map(|it| self.node(it, namespace)).collect::<Result<_, _>>()?;
                Ok(self.add(Shape::Union(branches), Meaning::Plain, None))
            }
            Value::Object(object) => self.object(object, namespace),
            other => Err(format!("{other} is no type of Avro")),
        }
    }

    fn object(&mut self, object: &Map<String, Value>, namespace: &str) -> Result<NodeId, String> {
        let of = |name: &str| object.get(name).ok_or_else(|| format!("a type without \"{name}\": {}", short(object)));
        let kind = match of("type")? {
            Value::String(kind) => kind.as_str(),
            nested => return self.node(nested, namespace),
        };
        if let Some(shape) = primitive(kind) {
            let meaning = meaning(&shape, object);
            let id = self.add(shape, meaning, connect(object));
            self.nodes[id].precision = precision(object);
            return Ok(id);
        }
        match kind {
            "array" => {
                let items = self.node(of("items")?, namespace)?;
                return Ok(self.add(Shape::Array(items), Meaning::Plain, connect(object)));
            }
            "map" => {
                let values = self.node(of("values")?, namespace)?;
                return Ok(self.add(Shape::Map(values), Meaning::Plain, connect(object)));
            }
            "record" | "error" | "enum" | "fixed" => {}
            name => return self.named(name, namespace),
        }
        let name = of("name")?.as_str().ok_or("a name that is no text")?;
        let own = object.get("namespace").and_then(Value::as_str);
        let full = match own {
            Some(own) if !name.contains('.') && !own.is_empty() => format!("{own}.{name}"),
            None if !name.contains('.') && !namespace.is_empty() => format!("{namespace}.{name}"),
            _ => name.to_owned(),
        };
        let inner = full.rsplit_once('.').map_or("", |(namespace, _)| namespace).to_owned();
        // Known before its fields are, which may be of this very type.
        let id = self.add(Shape::Null, Meaning::Plain, connect(object));
        self.nodes[id].name = Some(full.clone());
        self.names.insert(full, id);
        let shape = match kind {
            "enum" => {
                let symbols = of("symbols")?.as_array().ok_or("\"symbols\" is no list")?;
                Shape::Enum(symbols.iter().map(|it| it.as_str().unwrap_or_default().to_owned()).collect())
            }
            "fixed" => {
                let size = of("size")?.as_u64().ok_or("\"size\" is no number")?;
                Shape::Fixed(usize::try_from(size).map_err(|_| "\"size\" is too large")?)
            }
            _ => {
                let fields = of("fields")?.as_array().ok_or("\"fields\" is no list")?;
                let field = |field: &Value| {
                    let name = field.get("name").and_then(Value::as_str).ok_or("a field without a name")?;
                    let of_type = field.get("type").ok_or_else(|| format!("the field {name} has no type"))?;
                    Ok::<_, String>((name.to_owned(), self.node(of_type, &inner)?))
                };
                Shape::Record(fields.iter().map(field).collect::<Result<_, _>>()?)
            }
        };
        self.nodes[id].meaning = meaning(&shape, object);
        self.nodes[id].precision = precision(object);
        self.nodes[id].shape = shape;
        Ok(id)
    }

    fn named(&self, name: &str, namespace: &str) -> Result<NodeId, String> {
        let qualified = format!("{namespace}.{name}");
        let found = self.names.get(&qualified).filter(|_| !name.contains('.')).or_else(|| self.names.get(name));
        found.copied().ok_or_else(|| format!("the schema names the type {name}, which it does not define"))
    }

    fn add(&mut self, shape: Shape, meaning: Meaning, connect: Option<Box<Connect>>) -> NodeId {
        self.nodes.push(Node { shape, meaning, precision: None, name: None, connect });
        self.nodes.len() - 1
    }
}

fn primitive(name: &str) -> Option<Shape> {
    Some(match name {
        "null" => Shape::Null,
        "boolean" => Shape::Boolean,
        "int" => Shape::Int,
        "long" => Shape::Long,
        "float" => Shape::Float,
        "double" => Shape::Double,
        "bytes" => Shape::Bytes,
        "string" => Shape::String,
        _ => return None,
    })
}

fn connect(object: &Map<String, Value>) -> Option<Box<Connect>> {
    let text = |name: &str| object.get(name).and_then(Value::as_str).map(str::to_owned);
    let parameters = object.get("connect.parameters").and_then(Value::as_object).into_iter().flatten();
    let as_text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let connect = Connect {
        name: text("connect.name"),
        narrow: text("connect.type"),
        parameters: parameters.map(|(name, value)| (name.clone(), as_text(value))).collect(),
    };
    let is_empty = connect.name.is_none() && connect.narrow.is_none() && connect.parameters.is_empty();
    (!is_empty).then(|| Box::new(connect))
}

/// Connect's name first, then Avro's logical type. One that does not go with the shape means nothing, as the specification has it.
fn meaning(shape: &Shape, object: &Map<String, Value>) -> Meaning {
    let text = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default();
    let scale = || {
        let parameter = object.get("connect.parameters").and_then(|parameters| parameters.get("scale"));
        let number = |value: &Value| value.as_str().map_or_else(|| value.as_i64(), |text| text.parse().ok());
        let scale = parameter.and_then(number).or_else(|| object.get("scale").and_then(number)).unwrap_or(0);
        i32::try_from(scale).ok().filter(|scale| (-1_000..=1_000).contains(scale))
    };
    let (millis, micros, nanos) = (TimeUnit::Millisecond, TimeUnit::Microsecond, TimeUnit::Nanosecond);
    let (name, logical) = (text("connect.name"), text("logicalType"));
    let meaning = match (shape, name, logical) {
        (Shape::Bytes | Shape::Fixed(_), "org.apache.kafka.connect.data.Decimal", _)
        | (Shape::Bytes | Shape::Fixed(_), "", "decimal") => scale().map(Meaning::Decimal),
        (Shape::Record(fields), "io.debezium.data.VariableScaleDecimal", _) => {
            let names = fields.iter().map(|(name, _)| name.as_str());
            names.eq(["scale", "value"]).then_some(Meaning::VariableScaleDecimal)
        }
        (Shape::Bytes, "io.debezium.data.Bits", _) => Some(Meaning::Bits),
        (Shape::Fixed(16), _, "uuid") => Some(Meaning::Uuid),
        (Shape::Fixed(12), _, "duration") => Some(Meaning::Duration),
        (Shape::Int | Shape::Long, name, logical) => match (name, logical) {
            ("io.debezium.time.Date" | "org.apache.kafka.connect.data.Date", _) | ("", "date") => Some(Meaning::Date),
            ("io.debezium.time.Time" | "org.apache.kafka.connect.data.Time", _) | ("", "time-millis") => {
                Some(Meaning::TimeOfDay(millis))
            }
            ("io.debezium.time.MicroTime", _) | ("", "time-micros") => Some(Meaning::TimeOfDay(micros)),
            ("io.debezium.time.NanoTime", _) => Some(Meaning::TimeOfDay(nanos)),
            ("io.debezium.time.Timestamp" | "org.apache.kafka.connect.data.Timestamp", _)
            | ("", "timestamp-millis" | "local-timestamp-millis") => Some(Meaning::Instant(millis)),
            ("io.debezium.time.MicroTimestamp", _) | ("", "timestamp-micros" | "local-timestamp-micros") => {
                Some(Meaning::Instant(micros))
            }
            ("io.debezium.time.NanoTimestamp", _) | ("", "timestamp-nanos" | "local-timestamp-nanos") => {
                Some(Meaning::Instant(nanos))
            }
            _ => None,
        },
        _ => None,
    };
    meaning.unwrap_or(Meaning::Plain)
}

fn precision(object: &Map<String, Value>) -> Option<u64> {
    object.get("precision").and_then(Value::as_u64)
}

fn short(object: &Map<String, Value>) -> String {
    let text = Value::Object(object.clone()).to_string();
    text.chars().take(80).collect()
}
