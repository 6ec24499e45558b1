package import HTTPServer
package import JSON
import KubeValidation

/// What is done about fields that the schema does not know.
package enum FieldValidation: String, Hashable, Sendable {
  case ignore = "Ignore"
  case warn = "Warn"
  case strict = "Strict"
}

/// The options of requests that write: https://kubernetes.io/docs/reference/kubernetes-api/common-parameters/
package struct WriteOptions: Hashable, Sendable {
  package var isDryRun = false
  package var fieldValidation = FieldValidation.warn
  package var fieldManager = ""
  /// Of an apply: others' fields too.
  package var force = false

  package init() {}

  /// - Parameter isApply: of a server-side apply, which alone may be forced.
  package init(_ query: HTTPQuery, kind: String, isApply: Bool = false) throws(APIStatus) {
    var errors: [FieldError] = []
    for value in query.all("dryRun") {
      if value == "All" {
        isDryRun = true
      } else {
        errors.append(.unsupported("dryRun", value, ["All"]))
      }
    }
    if let text = query["fieldValidation"], !text.isEmpty {
      if let validation = FieldValidation(rawValue: text) {
        fieldValidation = validation
      } else {
        errors.append(.unsupported("fieldValidation", text, ["Ignore", "Strict", "Warn"]))
      }
    }
    fieldManager = query["fieldManager"] ?? ""
    force = query.flag("force")
    if !isApply, query["force"] != nil, kind == "PatchOptions" {
      errors.append(FieldError(path: "force", reason: .forbidden, detail: "may not be specified for non-apply patch"))
    }
    if fieldManager.utf8.count > 128 {
      errors.append(
        FieldError(
          path: "fieldManager", reason: .tooLong, value: .string(fieldManager), detail: "may not be more than 128 bytes"
        ))
    }
    if !errors.isEmpty { throw .invalid(kind: kind, group: "meta.k8s.io", name: "", errors: errors) }
  }
}

extension FieldError {
  /// A value outside its choices.
  static func unsupported(_ path: String, _ value: String, _ supported: [String]) -> FieldError {
    FieldError(
      path: path, reason: .notSupported, value: .string(value),
      detail: "supported values: " + supported.map { "\"\($0)\"" }.joined(separator: ", "))
  }
}

/// The options of list and watch.
package struct ListOptions: Hashable, Sendable {
  package enum Match: String, Hashable, Sendable {
    case exact = "Exact"
    case notOlderThan = "NotOlderThan"
  }

  package var labels = LabelQuery()
  package var fields = FieldSelector()
  /// Objects in an answer at most; nil for all.
  package var limit: Int?
  package var continueToken = ""
  /// Nil: not given. 0: whatever is there.
  package var resourceVersion: Int64?
  package var match: Match?
  package var isWatch = false
  package var allowsBookmarks = false
  /// Nil: not given.
  package var sendsInitialEvents: Bool?
  package var timeoutSeconds: Int?

  package init() {}

  package init(_ query: HTTPQuery, isWatch: Bool) throws(APIStatus) {
    self.isWatch = isWatch
    if let text = query["labelSelector"], !text.isEmpty { labels = try LabelQuery(text) }
    if let text = query["fieldSelector"], !text.isEmpty { fields = try FieldSelector(text) }
    if let limit = try Self.number(query, "limit"), limit > 0 { self.limit = Int(limit) }
    continueToken = query["continue"] ?? ""
    let version = query["resourceVersion"] ?? ""
    if !version.isEmpty {
      guard let number = Int64(version), number >= 0 else {
        throw .badRequest(
          "resourceVersion: Invalid value: \"\(version)\": strconv.ParseUint: parsing \"\(version)\": invalid syntax")
      }
      resourceVersion = number
    }
    allowsBookmarks = query.flag("allowWatchBookmarks")
    if let text = query["sendInitialEvents"], !text.isEmpty { sendsInitialEvents = text == "true" || text == "1" }
    if let seconds = try Self.number(query, "timeoutSeconds"), seconds > 0 {
      timeoutSeconds = Int(min(seconds, 86_400))
    }
    try check(match: query["resourceVersionMatch"] ?? "")
  }

  private static func number(_ query: HTTPQuery, _ name: String) throws(APIStatus) -> Int64? {
    guard let text = query[name], !text.isEmpty else { return nil }
    guard let number = Int64(text) else {
      throw .badRequest("strconv.ParseInt: parsing \"\(text)\": invalid syntax")
    }
    return number
  }

  private mutating func check(match text: String) throws(APIStatus) {
    var errors: [FieldError] = []
    func forbid(_ path: String, _ why: String) {
      errors.append(FieldError(path: path, reason: .forbidden, detail: why))
    }
    if let sendsInitialEvents {
      if !isWatch { forbid("sendInitialEvents", "sendInitialEvents is forbidden for list") }
      if isWatch, text != "NotOlderThan" {
        forbid(
          "resourceVersionMatch",
          "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")
      }
      _ = sendsInitialEvents
    } else if isWatch, !text.isEmpty {
      forbid("resourceVersionMatch", "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided")
    }
    if !text.isEmpty {
      match = Match(rawValue: text)
      if match == nil {
        errors.append(.unsupported("resourceVersionMatch", text, ["Exact", "NotOlderThan", ""]))
      }
      if !isWatch, resourceVersion == nil {
        forbid("resourceVersionMatch", "resourceVersionMatch is forbidden unless resourceVersion is provided")
      }
      if !isWatch, !continueToken.isEmpty {
        forbid("resourceVersionMatch", "resourceVersionMatch is forbidden when continue is provided")
      }
      if match == .exact, resourceVersion == 0 {
        forbid("resourceVersionMatch", "resourceVersionMatch \"Exact\" is forbidden for resourceVersion \"0\"")
      }
    }
    if !errors.isEmpty { throw .invalid(kind: "ListOptions", group: "meta.k8s.io", name: "", errors: errors) }
  }
}

/// The options of delete, from the query and from the body: the body wins where it says something.
package struct DeleteOptions: Hashable, Sendable {
  package enum Propagation: String, Hashable, Sendable {
    case orphan = "Orphan"
    case background = "Background"
    case foreground = "Foreground"
  }

  package var isDryRun = false
  package var graceSeconds: Int64?
  package var propagation: Propagation?
  package var preconditionUID: String?
  package var preconditionVersion: String?

  package init() {}

  /// - Parameter body: a DeleteOptions document that the schema has checked; nil where there was none.
  package init(_ query: HTTPQuery, body: JSONValue?) throws(APIStatus) {
    var errors: [FieldError] = []
    func read(_ name: String, _ value: String) {
      switch name {
      case "gracePeriodSeconds":
        guard let seconds = Int64(value) else {
          errors.append(FieldError(path: name, reason: .invalid, value: .string(value), detail: "must be an integer"))
          return
        }
        graceSeconds = seconds
      case "propagationPolicy":
        guard let policy = Propagation(rawValue: value) else {
          errors.append(.unsupported(name, value, ["Background", "Foreground", "Orphan"]))
          return
        }
        propagation = policy
      case "orphanDependents": propagation = value == "true" ? .orphan : .background
      case "dryRun":
        isDryRun = value == "All"
        if !isDryRun { errors.append(.unsupported(name, value, ["All"])) }
      default: return
      }
    }
    for item in query where !item.value.isEmpty { read(item.name, item.value) }
    for (name, value) in body?.object?.members ?? [] {
      switch value {
      case .string(let text) where !text.isEmpty: read(name, text)
      case .integer(let number): read(name, String(number))
      case .bool(let flag): read(name, flag ? "true" : "false")
      case .array(let items) where name == "dryRun": for item in items { read(name, item.string ?? "") }
      case .object(let object) where name == "preconditions":
        preconditionUID = object["uid"]?.string
        preconditionVersion = object["resourceVersion"]?.string
      default: continue
      }
    }
    if !errors.isEmpty { throw .invalid(kind: "DeleteOptions", group: "meta.k8s.io", name: "", errors: errors) }
  }
}
