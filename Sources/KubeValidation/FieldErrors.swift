import JSON
import KubeModel

/// Collects what is wrong with one object.
struct FieldErrors {
  /// Errors told of one object; beyond it the answer would be larger than what was asked.
  static let errorsMax = 200

  private(set) var list: [FieldError] = []
  private var omitted = 0

  private mutating func add(_ path: FieldPath, _ reason: FieldError.Reason, _ value: JSONValue?, _ detail: String) {
    guard list.count < Self.errorsMax else { return omitted += 1 }
    list.append(FieldError(path: path.text, reason: reason, value: value, detail: detail))
  }

  /// Says how many errors are not in the list.
  mutating func finish() {
    guard omitted > 0 else { return }
    list.append(FieldError(path: "metadata", reason: .tooMany, detail: "\(omitted) more errors in this object"))
    omitted = 0
  }

  mutating func required(_ path: FieldPath, _ detail: String = "") { add(path, .required, nil, detail) }
  mutating func invalid(_ path: FieldPath, _ value: JSONValue, _ detail: String) { add(path, .invalid, value, detail) }
  mutating func invalid(_ path: FieldPath, _ value: String, _ detail: String) {
    add(path, .invalid, .string(value), detail)
  }
  mutating func invalid(_ path: FieldPath, _ value: some BinaryInteger, _ detail: String) {
    add(path, .invalid, .integer(Int64(value)), detail)
  }
  mutating func forbidden(_ path: FieldPath, _ detail: String) { add(path, .forbidden, nil, detail) }
  mutating func duplicate(_ path: FieldPath, _ value: JSONValue) { add(path, .duplicate, value, "") }
  mutating func duplicate(_ path: FieldPath, _ value: String) { add(path, .duplicate, .string(value), "") }
  mutating func duplicate(_ path: FieldPath, _ value: JSONValue, _ detail: String) {
    add(path, .duplicate, value, detail)
  }
  mutating func notFound(_ path: FieldPath, _ value: String, _ detail: String = "") {
    add(path, .notFound, .string(value), detail)
  }
  mutating func notSupported(_ path: FieldPath, _ value: JSONValue, _ supported: [String]) {
    add(path, .notSupported, value, FieldError.supported(supported))
  }
  mutating func notSupported(_ path: FieldPath, _ value: String, _ supported: [String]) {
    add(path, .notSupported, .string(value), FieldError.supported(supported))
  }
  mutating func tooLong(_ path: FieldPath, _ bytesMax: Int) {
    add(path, .tooLong, nil, "may not be more than \(bytesMax) \(bytesMax == 1 ? "byte" : "bytes")")
  }
  mutating func tooMany(_ path: FieldPath, _ count: Int, _ countMax: Int) {
    add(path, .tooMany, .integer(Int64(count)), "must have at most \(countMax) \(countMax == 1 ? "item" : "items")")
  }

  /// Each message of a rule as an error of its own.
  mutating func invalid(_ path: FieldPath, _ value: String, _ messages: [String]) {
    for message in messages { invalid(path, value, message) }
  }
}
