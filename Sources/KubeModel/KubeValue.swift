package import JSON
import KubeSchema

/// Something that stands in a field: a scalar, a hand-written type, or an object of the table.
package protocol KubeValue: Hashable, Sendable {
  /// Reports what is wrong to the decoder and then gives a value of no meaning.
  init(_ value: JSONValue, _ decoder: inout FieldDecoder)
  var json: JSONValue { get }
}

/// An object whose fields come from the table.
package protocol KubeObject: KubeValue {
  init()
  static var requiredFields: [String] { get }
  /// False: there is no field of this name.
  mutating func decodeField(_ key: String, _ value: JSONValue, _ decoder: inout FieldDecoder) -> Bool
  func encodeFields(_ encoder: inout FieldEncoder)
}

extension KubeObject {
  package static var requiredFields: [String] { [] }

  package init(_ value: JSONValue, _ decoder: inout FieldDecoder) {
    self.init()
    guard let members = value.object?.members else {
      decoder.wrongType(expected: "an object", found: value)
      return
    }
    var seen: Set<String> = []
    for (key, item) in members {
      if !item.isNull { seen.insert(key) }
      decoder.field(key) { decoder in
        if !decodeField(key, item, &decoder) { decoder.report(.unknownField) }
      }
    }
    for name in Self.requiredFields where !seen.contains(name) {
      decoder.field(name) { $0.report(.required) }
    }
  }

  package var json: JSONValue {
    var encoder = FieldEncoder()
    encodeFields(&encoder)
    return encoder.object
  }
}

/// A kind: an object with a name and a namespace that stands for itself.
package protocol KubeKind: KubeObject {
  static var apiVersion: String { get }
  static var kind: String { get }
  var metadata: ObjectMeta { get set }
}

extension KubeKind {
  /// Reads a document of this kind, strictly: an unknown field, a wrong type, a missing required field or a value
  /// outside its choices is an error that names the field. Defaults are not applied.
  package init(strict value: JSONValue) throws(ModelError) {
    var decoder = FieldDecoder()
    self.init(value, &decoder)
    guard decoder.problems.isEmpty else { throw ModelError(problems: decoder.problems) }
  }

  /// Reads a document that another program has checked, such as an answer of the API server: unknown fields and choices
  /// are ignored, missing required fields have the zero of their type, no defaults are applied. A list's items often
  /// leave `apiVersion` and `kind` out; where they stand, they must be this kind's. A wrong type is an error.
  package init(lenient value: JSONValue) throws(ModelError) {
    var decoder = FieldDecoder(isLenient: true)
    self.init(value, &decoder)
    guard decoder.problems.isEmpty else { throw ModelError(problems: decoder.problems) }
  }

  /// Sets what the API server would: the defaults of the table, and the namespace `default`.
  package mutating func applyDefaults() {
    guard let type = Schema.kubernetes.type(apiVersion: Self.apiVersion, kind: Self.kind) else { return }
    // What the table adds can be read back: only this object's own text could not, and that was read once.
    if let complete = try? Self(lenient: Schema.kubernetes.defaulted(json, as: type)) { self = complete }
    let isNamespaced = Schema.kubernetes.resource(apiVersion: Self.apiVersion, kind: Self.kind)?.isNamespaced ?? false
    if isNamespaced, metadata.namespace == nil { metadata.namespace = "default" }
  }

  package init(_ value: JSONValue, _ decoder: inout FieldDecoder) {
    self.init()
    guard let members = value.object?.members else {
      decoder.wrongType(expected: "an object", found: value)
      return
    }
    var seen: Set<String> = []
    for (key, item) in members {
      if !item.isNull { seen.insert(key) }
      decoder.field(key) { decoder in
        switch key {
        case "apiVersion": Self.check(item, is: Self.apiVersion, &decoder)
        case "kind": Self.check(item, is: Self.kind, &decoder)
        default: if !decodeField(key, item, &decoder) { decoder.report(.unknownField) }
        }
      }
    }
    for name in Self.requiredFields where !seen.contains(name) { decoder.field(name) { $0.report(.required) } }
  }

  private static func check(_ value: JSONValue, is expected: String, _ decoder: inout FieldDecoder) {
    if value.string == expected { return }
    decoder.report(.unsupportedValue(found: value.string ?? "", supported: [expected]))
    decoder.reportOtherKind(found: value.string ?? "", expected: expected)
  }

  package var json: JSONValue {
    var encoder = FieldEncoder()
    encoder.encode("apiVersion", Self.apiVersion, always: true)
    encoder.encode("kind", Self.kind, always: true)
    encodeFields(&encoder)
    return encoder.object
  }
}

/// Which kind a document is, by its `apiVersion` and `kind`.
package enum AnyKind {
  package static func type(of document: JSONValue) throws(ModelError) -> any KubeKind.Type {
    guard let members = document.object?.members else {
      throw ModelError(problems: [.init(path: "", kind: .wrongType(expected: "an object", found: document.kindName))])
    }
    var problems: [FieldProblem] = []
    func text(_ key: String) -> String {
      guard let value = members.first(where: { $0.key == key })?.value, !value.isNull else {
        problems.append(FieldProblem(path: key, kind: .required))
        return ""
      }
      guard let text = value.string else {
        problems.append(FieldProblem(path: key, kind: .wrongType(expected: "a string", found: value.kindName)))
        return ""
      }
      return text
    }
    let (apiVersion, kind) = (text("apiVersion"), text("kind"))
    guard problems.isEmpty else { throw ModelError(problems: problems) }
    guard let type = kinds["\(apiVersion)/\(kind)"] else {
      let why = "\(kind) of \(apiVersion); known here: \(kinds.keys.sorted().joined(separator: ", "))"
      throw ModelError(problems: [FieldProblem(path: "kind", kind: .notSupported(why))])
    }
    return type
  }
}

/// Keeps a field that is seldom present out of line, so that a Pod is not some kilobytes to copy.
@propertyWrapper
package struct Boxed<Value: KubeValue>: Hashable, Sendable {
  private final class Storage: Sendable {
    let value: Value
    init(_ value: Value) { self.value = value }
  }
  private var storage: Storage?

  package init(wrappedValue: Value?) { storage = wrappedValue.map(Storage.init) }

  package var wrappedValue: Value? {
    get { storage?.value }
    set { storage = newValue.map(Storage.init) }
  }

  package static func == (left: Self, right: Self) -> Bool {
    left.storage === right.storage || left.wrappedValue == right.wrappedValue
  }

  package func hash(into hasher: inout Hasher) { hasher.combine(wrappedValue) }
}
