//! Serde's side of reading a configuration: [`Text`]'s tokens as what the filter's type asks for.
//!
//! It is here, and not taken from a crate, since every filter has it in its module: what no type asks for, as floating
//! point, is left out, and each problem knows its path. What is an object for a type is not read from a list.

use std::borrow::Cow;

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, Expected, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::problem::Problem;
use super::text::{END, NO_VALUE, Number, Text};

/// Reads the next value of a text.
pub(super) struct Reader<'t, 'j>(pub(super) &'t mut Text<'j>);

/// The value is of another type than is wanted. It is passed, so that a text that is wrong is told before.
fn mismatch(text: &mut Text<'_>, wanted: &dyn Expected) -> Problem {
    let first = text.peek(END).unwrap_or_default();
    let found = match first {
        b'n' => Unexpected::Unit,
        b't' | b'f' => Unexpected::Bool(first == b't'),
        b'"' => Unexpected::Str(""),
        b'[' => Unexpected::Seq,
        b'{' => Unexpected::Map,
        b'-' | b'0'..=b'9' => match text.number() {
            Ok(Number::Other(_)) => Unexpected::Float(0.0),
            Ok(_) => Unexpected::Unsigned(0),
            Err(problem) => return problem,
        },
        _ => return text.skip().err().unwrap_or_else(|| text.wrong(NO_VALUE)),
    };
    let passed = if first == b'-' || first.is_ascii_digit() { Ok(()) } else { text.skip() };
    passed.err().unwrap_or_else(|| Problem::invalid_type(found, wanted))
}

/// What is floating point for this reader: every number that is no whole one of 64 bits.
fn float(text: &Text<'_>, number: &str) -> Result<f64, Problem> {
    match number.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(number),
        _ => Err(text.wrong("number out of range")),
    }
}

fn visit_string<'j, V: Visitor<'j>>(string: Cow<'j, str>, visitor: V) -> Result<V::Value, Problem> {
    match string {
        Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
        Cow::Owned(text) => visitor.visit_string(text),
    }
}

impl<'j> Reader<'_, 'j> {
    fn string<V: Visitor<'j>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self.0.peek(END)? {
            b'"' => visit_string(self.0.string()?, visitor),
            _ => Err(mismatch(self.0, &visitor)),
        }
    }

    fn integer<V: Visitor<'j>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self.0.peek(END)? {
            b'-' | b'0'..=b'9' => match self.0.number()? {
                Number::Unsigned(number) => visitor.visit_u64(number),
                Number::Signed(number) => visitor.visit_i64(number),
                Number::Other(_) => Err(Problem::invalid_type(Unexpected::Float(0.0), &visitor)),
            },
            _ => Err(mismatch(self.0, &visitor)),
        }
    }

    fn number<V: Visitor<'j>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self.0.peek(END)? {
            b'-' | b'0'..=b'9' => match self.0.number()? {
                Number::Unsigned(number) => visitor.visit_u64(number),
                Number::Signed(number) => visitor.visit_i64(number),
                Number::Other(number) => visitor.visit_f64(float(self.0, number)?),
            },
            _ => Err(mismatch(self.0, &visitor)),
        }
    }

    fn bool<V: Visitor<'j>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self.0.peek(END)? {
            b't' => {
                self.0.word("true")?;
                visitor.visit_bool(true)
            }
            b'f' => {
                self.0.word("false")?;
                visitor.visit_bool(false)
            }
            _ => Err(mismatch(self.0, &visitor)),
        }
    }

    fn null<V: Visitor<'j>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self.0.peek(END)? {
            b'n' => {
                self.0.word("null")?;
                visitor.visit_unit()
            }
            _ => Err(mismatch(self.0, &visitor)),
        }
    }

    fn list<V: Visitor<'j>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self.0.peek(END)? {
            b'[' => {
                self.0.enter()?;
                let mut list = List { text: self.0, index: 0 };
                let value = visitor.visit_seq(&mut list)?;
                list.end()?;
                Ok(value)
            }
            _ => Err(mismatch(self.0, &visitor)),
        }
    }

    fn object<V: Visitor<'j>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self.0.peek(END)? {
            b'{' => {
                self.0.enter()?;
                let mut object = Object { text: self.0, first: true, key: Cow::Borrowed("") };
                let value = visitor.visit_map(&mut object)?;
                object.end()?;
                Ok(value)
            }
            _ => Err(mismatch(self.0, &visitor)),
        }
    }

    /// A whole number of more than 64 bits, of the type that is asked for.
    fn wide<T: std::str::FromStr>(&mut self, wanted: &dyn Expected) -> Result<T, Problem> {
        match self.0.peek(END)? {
            b'-' | b'0'..=b'9' => {
                let number = match self.0.number()? {
                    Number::Unsigned(number) => number.to_string().parse(),
                    Number::Signed(number) => number.to_string().parse(),
                    Number::Other(number) => number.parse(),
                };
                number.map_err(|_| Problem::invalid_value(Unexpected::Other("number"), wanted))
            }
            _ => Err(mismatch(self.0, wanted)),
        }
    }
}

macro_rules! as_they_are {
    ($by:ident: $($method:ident)*) => {
        $(fn $method<V: Visitor<'j>>(self, visitor: V) -> Result<V::Value, Problem> {
            self.$by(visitor)
        })*
    };
}

impl<'j> Deserializer<'j> for Reader<'_, 'j> {
    type Error = Problem;

    fn deserialize_any<V: Visitor<'j>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self.0.peek(END)? {
            b'n' => self.null(visitor),
            b't' | b'f' => self.bool(visitor),
            b'"' => self.string(visitor),
            b'[' => self.list(visitor),
            b'{' => self.object(visitor),
            b'-' | b'0'..=b'9' => self.number(visitor),
            _ => Err(self.0.wrong(NO_VALUE)),
        }
    }

    as_they_are! { bool: deserialize_bool }
    as_they_are! { integer: deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 }
    as_they_are! { integer: deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 }
    as_they_are! { number: deserialize_f32 deserialize_f64 }
    as_they_are! { string: deserialize_char deserialize_str deserialize_string deserialize_identifier }
    as_they_are! { null: deserialize_unit }
    as_they_are! { list: deserialize_seq }
    as_they_are! { object: deserialize_map }

    fn deserialize_u128<V: Visitor<'j>>(mut self, visitor: V) -> Result<V::Value, Problem> {
        let number = self.wide(&visitor)?;
        visitor.visit_u128(number)
    }

    fn deserialize_i128<V: Visitor<'j>>(mut self, visitor: V) -> Result<V::Value, Problem> {
        let number = self.wide(&visitor)?;
        visitor.visit_i128(number)
    }

    fn deserialize_bytes<V: Visitor<'j>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self.0.peek(END)? {
            b'"' => match self.0.string()? {
                Cow::Borrowed(text) => visitor.visit_borrowed_bytes(text.as_bytes()),
                Cow::Owned(text) => visitor.visit_byte_buf(text.into_bytes()),
            },
            _ => self.list(visitor),
        }
    }

    fn deserialize_byte_buf<V: Visitor<'j>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'j>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self.0.peek(END)? {
            b'n' => {
                self.0.word("null")?;
                visitor.visit_none()
            }
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_unit_struct<V: Visitor<'j>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Problem> {
        self.null(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'j>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Problem> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_tuple<V: Visitor<'j>>(self, _len: usize, visitor: V) -> Result<V::Value, Problem> {
        self.list(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'j>>(
        self,
        _name: &'static str,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, Problem> {
        self.list(visitor)
    }

    fn deserialize_struct<V: Visitor<'j>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        self.object(visitor)
    }

    fn deserialize_enum<V: Visitor<'j>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        match self.0.peek(END)? {
            b'"' => visitor.visit_enum(self.0.string()?.into_deserializer()),
            b'{' => {
                self.0.enter()?;
                let Some(name) = self.0.next_key(true)? else {
                    return Err(Problem::invalid_value(Unexpected::Map, &"map with a single key"));
                };
                let value = visitor.visit_enum(Variant { text: self.0, name })?;
                if self.0.next_key(false)?.is_some() {
                    return Err(Problem::invalid_value(Unexpected::Map, &"map with a single key"));
                }
                self.0.leave();
                Ok(value)
            }
            _ => Err(mismatch(self.0, &visitor)),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'j>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.0.skip()?;
        visitor.visit_unit()
    }
}

/// A list, after its bracket.
struct List<'t, 'j> {
    text: &'t mut Text<'j>,
    index: usize,
}

impl List<'_, '_> {
    /// What was left is more than is wanted.
    fn end(self) -> Result<(), Problem> {
        if self.text.more_elements(self.index == 0)? {
            return Err(Problem::custom(format_args!("expected no more than {} elements", self.index)));
        }
        self.text.leave();
        Ok(())
    }
}

impl<'j> SeqAccess<'j> for List<'_, 'j> {
    type Error = Problem;

    fn next_element_seed<T: DeserializeSeed<'j>>(&mut self, seed: T) -> Result<Option<T::Value>, Problem> {
        let index = self.index;
        let more = self.text.more_elements(index == 0);
        if !more.map_err(|problem| problem.inside_element(index))? {
            return Ok(None);
        }
        self.index += 1;
        let value = seed.deserialize(Reader(self.text));
        value.map(Some).map_err(|problem| problem.inside_element(index))
    }
}

/// An object, after its bracket.
struct Object<'t, 'j> {
    text: &'t mut Text<'j>,
    first: bool,
    /// Of the next value.
    key: Cow<'j, str>,
}

impl Object<'_, '_> {
    fn end(self) -> Result<(), Problem> {
        if self.text.next_key(self.first)?.is_some() {
            return Err(Problem::custom("expected no more keys"));
        }
        self.text.leave();
        Ok(())
    }
}

impl<'j> MapAccess<'j> for Object<'_, 'j> {
    type Error = Problem;

    fn next_key_seed<K: DeserializeSeed<'j>>(&mut self, seed: K) -> Result<Option<K::Value>, Problem> {
        let Some(key) = self.text.next_key(self.first)? else { return Ok(None) };
        self.first = false;
        self.key = key;
        let read = seed.deserialize(Key(&self.key));
        read.map(Some).map_err(|problem| problem.inside(&self.key))
    }

    fn next_value_seed<V: DeserializeSeed<'j>>(&mut self, seed: V) -> Result<V::Value, Problem> {
        let read = seed.deserialize(Reader(self.text));
        read.map_err(|problem| problem.inside(&self.key))
    }
}

/// A key as what its type asks for: numbers and truth values are written as strings there.
struct Key<'k, 'j>(&'k Cow<'j, str>);

impl Key<'_, '_> {
    /// The key is one number.
    fn read(&self, wanted: &dyn Expected) -> Result<Number<'_>, Problem> {
        let mut text = Text::new(self.0.as_bytes())?;
        match (text.number(), text.at_end()) {
            (Ok(number), true) => Ok(number),
            _ => Err(Problem::invalid_type(Unexpected::Str(""), wanted)),
        }
    }

    fn number<'j, V: Visitor<'j>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self.read(&visitor)? {
            Number::Unsigned(number) => visitor.visit_u64(number),
            Number::Signed(number) => visitor.visit_i64(number),
            Number::Other(_) => Err(Problem::invalid_type(Unexpected::Float(0.0), &visitor)),
        }
    }

    /// One that is not of 64 bits.
    fn other<T: std::str::FromStr>(&self, wanted: &dyn Expected) -> Result<T, Problem> {
        self.read(wanted)?;
        self.0.parse().map_err(|_| Problem::invalid_value(Unexpected::Other("number"), wanted))
    }

    fn real(&self, wanted: &dyn Expected) -> Result<f64, Problem> {
        let number: f64 = self.other(wanted)?;
        let refused = || Problem::invalid_value(Unexpected::Other("number"), wanted);
        number.is_finite().then_some(number).ok_or_else(refused)
    }
}

macro_rules! numbers {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'j>>(self, visitor: V) -> Result<V::Value, Problem> {
            self.number(visitor)
        })*
    };
}

impl<'j> Deserializer<'j> for Key<'_, 'j> {
    type Error = Problem;

    fn deserialize_any<V: Visitor<'j>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self.0 {
            Cow::Borrowed(key) => visitor.visit_borrowed_str(key),
            Cow::Owned(key) => visitor.visit_str(key),
        }
    }

    numbers! { deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 }
    numbers! { deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 }

    fn deserialize_u128<V: Visitor<'j>>(self, visitor: V) -> Result<V::Value, Problem> {
        let number = self.other(&visitor)?;
        visitor.visit_u128(number)
    }

    fn deserialize_i128<V: Visitor<'j>>(self, visitor: V) -> Result<V::Value, Problem> {
        let number = self.other(&visitor)?;
        visitor.visit_i128(number)
    }

    fn deserialize_f32<V: Visitor<'j>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'j>>(self, visitor: V) -> Result<V::Value, Problem> {
        let number = self.real(&visitor)?;
        visitor.visit_f64(number)
    }

    fn deserialize_bytes<V: Visitor<'j>>(self, visitor: V) -> Result<V::Value, Problem> {
        visitor.visit_bytes(self.0.as_bytes())
    }

    fn deserialize_byte_buf<V: Visitor<'j>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_bool<V: Visitor<'j>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self.0.as_ref() {
            "true" => visitor.visit_bool(true),
            "false" => visitor.visit_bool(false),
            _ => Err(Problem::invalid_type(Unexpected::Str(""), &visitor)),
        }
    }

    fn deserialize_option<V: Visitor<'j>>(self, visitor: V) -> Result<V::Value, Problem> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'j>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Problem> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'j>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        visitor.visit_enum(self.0.as_ref().into_deserializer())
    }

    forward_to_deserialize_any! {
        <V: Visitor<'j>>
        char str string unit unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

/// A variant by its name, before its value.
struct Variant<'t, 'j> {
    text: &'t mut Text<'j>,
    name: Cow<'j, str>,
}

impl<'t, 'j> EnumAccess<'j> for Variant<'t, 'j> {
    type Error = Problem;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'j>>(self, seed: V) -> Result<(V::Value, Self), Problem> {
        let variant = seed.deserialize(Key(&self.name))?;
        Ok((variant, self))
    }
}

impl<'j> VariantAccess<'j> for Variant<'_, 'j> {
    type Error = Problem;

    fn unit_variant(self) -> Result<(), Problem> {
        let read = serde::Deserialize::deserialize(Reader(self.text));
        read.map_err(|problem: Problem| problem.inside(&self.name))
    }

    fn newtype_variant_seed<T: DeserializeSeed<'j>>(self, seed: T) -> Result<T::Value, Problem> {
        let read = seed.deserialize(Reader(self.text));
        read.map_err(|problem| problem.inside(&self.name))
    }

    fn tuple_variant<V: Visitor<'j>>(self, _len: usize, visitor: V) -> Result<V::Value, Problem> {
        let read = Reader(self.text).list(visitor);
        read.map_err(|problem| problem.inside(&self.name))
    }

    fn struct_variant<V: Visitor<'j>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        let read = Reader(self.text).object(visitor);
        read.map_err(|problem| problem.inside(&self.name))
    }
}
