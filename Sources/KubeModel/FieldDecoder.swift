package import JSON

/// A field that could not be taken as it is written, and where it stands.
package struct FieldProblem: Error, Hashable, CustomStringConvertible {
  package enum Kind: Hashable, Sendable {
    case unknownField
    case wrongType(expected: String, found: String)
    case required
    case unsupportedValue(found: String, supported: [String])
    case invalid(String)
    /// Kubernetes knows it; this program does not do it (yet).
    case notSupported(String)
  }
  /// As people write it: `spec.containers[0].image`; empty for the document itself.
  package let path: String
  package let kind: Kind

  package init(path: String, kind: Kind) {
    self.path = path
    self.kind = kind
  }

  package var reason: String {
    switch kind {
    case .unknownField: "unknown field"
    case .wrongType(let expected, let found): "expected \(expected), found \(found)"
    case .required: "required"
    case .unsupportedValue(let found, let supported):
      "\"\(found)\" is not one of \(supported.map { $0.isEmpty ? "\"\"" : $0 }.joined(separator: ", "))"
    case .invalid(let why): why
    case .notSupported(let why): why.isEmpty ? "not supported" : "not supported: \(why)"
    }
  }

  package var description: String { path.isEmpty ? reason : "\(path): \(reason)" }
}

/// Everything that was wrong with one object, in the order in which it was met; never empty.
package struct ModelError: Error, Hashable, CustomStringConvertible {
  package let problems: [FieldProblem]

  package init(problems: [FieldProblem]) { self.problems = problems }

  package var description: String { problems.map(\.description).joined(separator: "; ") }
}

/// Names the place in an object that is being read, and collects what is wrong with it.
///
/// Decoding goes on after a problem, so that one run names every field that must be mended.
package struct FieldDecoder {
  /// Problems kept for one object; what follows is not reported.
  package static let problemsMax = 100

  private enum Step {
    case field(String)
    case index(Int)
    case key(String)
  }
  private var steps: [Step] = []
  /// Takes what a newer or an older program wrote: fields and choices it does not know, and the lack of required ones.
  private let isLenient: Bool
  package private(set) var problems: [FieldProblem] = []

  package init(isLenient: Bool = false) { self.isLenient = isLenient }

  package var path: String {
    var text = ""
    for step in steps {
      switch step {
      case .field(let name): text += text.isEmpty ? name : ".\(name)"
      case .index(let index): text += "[\(index)]"
      case .key(let key): text += "[\(key)]"
      }
    }
    return text
  }

  package mutating func report(_ kind: FieldProblem.Kind) {
    if isLenient {
      switch kind {
      case .unknownField, .required, .unsupportedValue: return
      case .wrongType, .invalid, .notSupported: break
      }
    }
    guard problems.count < Self.problemsMax else { return }
    problems.append(FieldProblem(path: path, kind: kind))
  }

  /// Another kind's document is wrong for lenient readers, too; strict ones have reported it already.
  mutating func reportOtherKind(found: String, expected: String) {
    if isLenient { report(.invalid("\"\(found)\" where \"\(expected)\" is meant")) }
  }

  package mutating func wrongType(expected: String, found value: JSONValue) {
    report(.wrongType(expected: expected, found: value.kindName))
  }

  package mutating func field(_ name: String, _ body: (inout FieldDecoder) -> Void) {
    steps.append(.field(name))
    body(&self)
    steps.removeLast()
  }

  // MARK: what generated code calls; an explicit null is an absent field

  package mutating func decode<T: KubeValue>(_ target: inout T, _ value: JSONValue) {
    if value.isNull { return }
    target = T(value, &self)
  }

  package mutating func decode<T: KubeValue>(_ target: inout T?, _ value: JSONValue) {
    if value.isNull { return }
    target = T(value, &self)
  }

  package mutating func decode<T: KubeValue>(_ target: inout [T], _ value: JSONValue) {
    if value.isNull { return }
    guard let items = value.array else { return wrongType(expected: "a list", found: value) }
    target.reserveCapacity(items.count)
    for (index, item) in items.enumerated() {
      steps.append(.index(index))
      target.append(T(item, &self))
      steps.removeLast()
    }
  }

  package mutating func decode<T: KubeValue>(_ target: inout [String: T], _ value: JSONValue) {
    if value.isNull { return }
    guard let members = value.object?.members else { return wrongType(expected: "an object", found: value) }
    for (key, item) in members {
      steps.append(.key(key))
      target[key] = T(item, &self)
      steps.removeLast()
    }
  }

  package mutating func decode<T: KubeValue>(_ target: inout [String: [T]], _ value: JSONValue) {
    if value.isNull { return }
    guard let members = value.object?.members else { return wrongType(expected: "an object", found: value) }
    for (key, items) in members {
      steps.append(.key(key))
      decode(&target[key, default: []], items)
      steps.removeLast()
    }
  }

  package mutating func decode(_ target: inout String?, _ value: JSONValue, oneOf choices: [String]) {
    decode(&target, value)
    if let target, !choices.contains(target) { report(.unsupportedValue(found: target, supported: choices)) }
  }

  package mutating func decode(_ target: inout String, _ value: JSONValue, oneOf choices: [String]) {
    decode(&target, value)
    if !value.isNull, !choices.contains(target) { report(.unsupportedValue(found: target, supported: choices)) }
  }
}

/// Collects the fields of an object in the order of its table; what is absent or empty is left out.
package struct FieldEncoder {
  package private(set) var members = JSONObject()

  package init() {}

  package mutating func add(_ key: String, _ value: JSONValue) { members[key] = value }

  package mutating func encode<T: KubeValue>(_ key: String, _ value: T?) {
    if let value { add(key, value.json) }
  }

  package mutating func encode<T: KubeObject>(_ key: String, _ value: T, always: Bool = false) {
    var inner = FieldEncoder()
    value.encodeFields(&inner)
    if always || !inner.members.isEmpty { add(key, inner.object) }
  }

  package mutating func encode<T: KubeValue>(_ key: String, _ value: T, always: Bool) { add(key, value.json) }

  package mutating func encode<T: KubeValue>(_ key: String, _ value: [T], always: Bool = false) {
    if always || !value.isEmpty { add(key, .array(value.map(\.json))) }
  }

  package mutating func encode<T: KubeValue>(_ key: String, _ value: [String: T], always: Bool = false) {
    guard always || !value.isEmpty else { return }
    var inner = FieldEncoder()
    for (name, item) in value.sorted(by: { $0.key < $1.key }) { inner.add(name, item.json) }
    add(key, inner.object)
  }

  package mutating func encode<T: KubeValue>(_ key: String, _ value: [String: [T]], always: Bool = false) {
    guard always || !value.isEmpty else { return }
    var inner = FieldEncoder()
    for (name, items) in value.sorted(by: { $0.key < $1.key }) { inner.add(name, .array(items.map(\.json))) }
    add(key, inner.object)
  }

  package var object: JSONValue { .object(members) }
}
