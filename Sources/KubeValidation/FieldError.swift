package import JSON
package import KubeModel

/// One thing that an object may not be, and the field at which it stands.
///
/// The words are those that users of kubectl know, since people search for them and scripts match them.
package struct FieldError: Error, Hashable, Sendable, CustomStringConvertible {
  /// Why; the raw value is the `reason` of a cause in a Status.
  package enum Reason: String, Hashable, Sendable {
    case required = "FieldValueRequired"
    case invalid = "FieldValueInvalid"
    case notSupported = "FieldValueNotSupported"
    case duplicate = "FieldValueDuplicate"
    case forbidden = "FieldValueForbidden"
    case tooLong = "FieldValueTooLong"
    case tooMany = "FieldValueTooMany"
    case notFound = "FieldValueNotFound"
    case typeInvalid = "FieldValueTypeInvalid"

    var words: String {
      switch self {
      case .required: "Required value"
      case .invalid: "Invalid value"
      case .notSupported: "Unsupported value"
      case .duplicate: "Duplicate value"
      case .forbidden: "Forbidden"
      case .tooLong: "Too long"
      case .tooMany: "Too many"
      case .notFound: "Not found"
      case .typeInvalid: "Invalid value"
      }
    }

    /// Some kinds of error say what stood there, others only what should.
    var showsValue: Bool {
      switch self {
      case .required, .forbidden, .tooLong: false
      default: true
      }
    }
  }

  /// As people write it: `spec.containers[0].image`.
  package let path: String
  package let reason: Reason
  /// What stood there; nil where that would not help.
  package let value: JSONValue?
  package let detail: String

  package init(path: String, reason: Reason, value: JSONValue? = nil, detail: String = "") {
    self.path = path
    self.reason = reason
    self.value = value
    self.detail = detail
  }

  /// `FieldValueInvalid`, for the causes of a Status.
  package var causeReason: String { reason.rawValue }

  /// What is wrong without the field: the message of a cause in a Status.
  package var body: String {
    var text = reason.words
    if reason.showsValue, let value { text += ": \(value.encodedString())" }
    return detail.isEmpty ? text : "\(text): \(detail)"
  }

  /// `spec.replicas: Invalid value: -1: must be greater than or equal to 0`
  package var message: String { "\(path): \(body)" }
  package var description: String { message }
}

extension FieldError {
  /// What the strict decoder of a kind found, in the words of validation.
  package init(_ problem: FieldProblem) {
    switch problem.kind {
    case .required: self.init(path: problem.path, reason: .required)
    case .unsupportedValue(let found, let supported):
      self.init(
        path: problem.path, reason: .notSupported, value: .string(found), detail: Self.supported(supported))
    case .unknownField: self.init(path: problem.path, reason: .forbidden, detail: "unknown field")
    case .wrongType(let expected, let found):
      self.init(path: problem.path, reason: .typeInvalid, value: .string(found), detail: "expected \(expected)")
    case .invalid(let why): self.init(path: problem.path, reason: .typeInvalid, detail: why)
    case .notSupported(let why): self.init(path: problem.path, reason: .forbidden, detail: "not supported: \(why)")
    }
  }

  /// `supported values: "A", "B"`
  static func supported(_ values: [String]) -> String {
    values.isEmpty ? "" : "supported values: \(values.map { "\"\($0)\"" }.joined(separator: ", "))"
  }

  /// The message of a Status for an object with these errors: `Pod "web" is invalid: …`, in brackets where there are
  /// several. - Parameter group: empty for the core group.
  package static func statusMessage(kind: String, group: String, name: String, errors: [FieldError]) -> String {
    var seen: Set<String> = []
    let messages = errors.map(\.message).filter { seen.insert($0).inserted }
    let shownKind = group.isEmpty ? kind : "\(kind).\(group)"
    let list = messages.count == 1 ? messages[0] : "[\(messages.joined(separator: ", "))]"
    return "\(shownKind) \"\(name)\" is invalid" + (messages.isEmpty ? "" : ": \(list)")
  }
}
