package import JSON
import KubeSchema

extension String: KubeValue {
  package init(_ value: JSONValue, _ decoder: inout FieldDecoder) {
    if let text = value.string {
      self = text
    } else {
      self = ""
      decoder.wrongType(expected: "a string", found: value)
    }
  }
  package var json: JSONValue { .string(self) }
}

extension Bool: KubeValue {
  package init(_ value: JSONValue, _ decoder: inout FieldDecoder) {
    if let truth = value.bool {
      self = truth
    } else {
      self = false
      decoder.wrongType(expected: "true or false", found: value)
    }
  }
  package var json: JSONValue { .bool(self) }
}

extension Int64: KubeValue {
  package init(_ value: JSONValue, _ decoder: inout FieldDecoder) {
    if let integer = value.integer {
      self = integer
    } else {
      self = 0
      decoder.wrongType(expected: "a whole number", found: value)
    }
  }
  package var json: JSONValue { .integer(self) }
}

extension Int32: KubeValue {
  package init(_ value: JSONValue, _ decoder: inout FieldDecoder) {
    guard let wide = value.integer else {
      self = 0
      decoder.wrongType(expected: "a whole number", found: value)
      return
    }
    if let narrow = Int32(exactly: wide) {
      self = narrow
    } else {
      self = 0
      decoder.report(.invalid("\(wide) does not fit in 32 bits"))
    }
  }
  package var json: JSONValue { .integer(Int64(self)) }
}

/// Bytes, base64 (RFC 4648 §4, padded) in JSON.
package struct Bytes: KubeValue {
  package var bytes: [UInt8]

  package init(_ bytes: [UInt8] = []) { self.bytes = bytes }

  package init(_ value: JSONValue, _ decoder: inout FieldDecoder) {
    bytes = []
    guard let text = value.string else {
      decoder.wrongType(expected: "base64 text", found: value)
      return
    }
    if let decoded = Base64.decode(text) {
      bytes = decoded
    } else {
      decoder.report(.invalid("not base64 (for plain text, use stringData)"))
    }
  }

  package var json: JSONValue { .string(Base64.encode(bytes)) }
}

/// JSON kept as it came: what the table does not describe further.
package struct RawJSON: KubeValue {
  package var json: JSONValue

  package init(_ json: JSONValue = .null) { self.json = json }
  package init(_ value: JSONValue, _ decoder: inout FieldDecoder) { json = value }
}

/// A whole number or a string: a port by number or by name.
package enum IntOrString: KubeValue, CustomStringConvertible {
  case int(Int32)
  case string(String)

  package init() { self = .int(0) }

  package init(_ value: JSONValue, _ decoder: inout FieldDecoder) {
    if let text = value.string {
      self = .string(text)
    } else if value.integer != nil {
      self = .int(Int32(value, &decoder))
    } else {
      self = .int(0)
      decoder.wrongType(expected: "a whole number or a string", found: value)
    }
  }

  package var json: JSONValue {
    switch self {
    case .int(let number): number.json
    case .string(let text): text.json
    }
  }

  package var description: String {
    switch self {
    case .int(let number): "\(number)"
    case .string(let text): text
    }
  }
}

package enum Base64 {
  package static func encode(_ bytes: [UInt8]) -> String { Base64Text.encode(bytes) }

  /// Nil for anything but padded base64; line breaks between groups are let through.
  package static func decode(_ text: String) -> [UInt8]? { Base64Text.decode(text) }
}
