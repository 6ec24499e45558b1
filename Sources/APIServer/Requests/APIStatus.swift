package import JSON
package import KubeValidation

/// What a request is answered with where it fails: a `v1` Status in the words that clients of Kubernetes match.
///
/// https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/
package struct APIStatus: Error, Hashable, Sendable, CustomStringConvertible {
  package struct Cause: Hashable, Sendable {
    package var reason: String
    package var message: String
    package var field: String

    package init(reason: String = "", message: String = "", field: String = "") {
      self.reason = reason
      self.message = message
      self.field = field
    }
  }

  /// Of what the request failed.
  package struct Details: Hashable, Sendable {
    package var name = ""
    package var group = ""
    /// The resource, or the kind where only that is known.
    package var kind = ""
    package var uid = ""
    package var causes: [Cause] = []
    package var retryAfterSeconds = 0
  }

  /// The HTTP status.
  package var code: Int
  package var reason: String
  package var message: String
  package var details: Details?
  /// Where the rest of a list can be had although the token was too old.
  package var continueToken: String?

  package init(code: Int, reason: String, message: String, details: Details? = nil) {
    self.code = code
    self.reason = reason
    self.message = message
    self.details = details
  }

  package var description: String { "\(code) \(reason): \(message)" }

  package var json: JSONValue {
    var metadata = JSONObject()
    if let continueToken { metadata["continue"] = .string(continueToken) }
    var status: JSONObject = [
      "kind": "Status", "apiVersion": "v1", "metadata": .object(metadata), "status": "Failure",
      "message": .string(message), "reason": .string(reason),
    ]
    if let details { status["details"] = details.json }
    status["code"] = .integer(Int64(code))
    return .object(status)
  }

  /// The answer to a deletion that is done: `status: Success`.
  package static func success(_ details: Details) -> JSONValue {
    ["kind": "Status", "apiVersion": "v1", "metadata": [:], "status": "Success", "details": details.json]
  }
}

extension APIStatus.Details {
  package var json: JSONValue {
    var object = JSONObject()
    func set(_ key: String, _ text: String) { if !text.isEmpty { object[key] = .string(text) } }
    set("name", name)
    set("group", group)
    set("kind", kind)
    set("uid", uid)
    if !causes.isEmpty {
      object["causes"] = .array(
        causes.map { cause in
          var object = JSONObject()
          if !cause.reason.isEmpty { object["reason"] = .string(cause.reason) }
          if !cause.message.isEmpty { object["message"] = .string(cause.message) }
          if !cause.field.isEmpty { object["field"] = .string(cause.field) }
          return .object(object)
        })
    }
    if retryAfterSeconds > 0 { object["retryAfterSeconds"] = .integer(Int64(retryAfterSeconds)) }
    return .object(object)
  }
}

/// A resource as messages name it: `pods`, `deployments.apps`.
package struct QualifiedResource: Hashable, Sendable, CustomStringConvertible {
  package var group: String
  package var resource: String

  package init(group: String, resource: String) {
    self.group = group
    self.resource = resource
  }

  package var description: String { group.isEmpty ? resource : "\(resource).\(group)" }
}

// The errors that have a resource to name.
extension APIStatus {
  private static func details(_ resource: QualifiedResource, _ name: String) -> Details {
    Details(name: name, group: resource.group, kind: resource.resource)
  }

  package static func notFound(_ resource: QualifiedResource, _ name: String) -> APIStatus {
    APIStatus(
      code: 404, reason: "NotFound", message: "\(resource) \"\(name)\" not found", details: details(resource, name))
  }

  package static func alreadyExists(_ resource: QualifiedResource, _ name: String) -> APIStatus {
    APIStatus(
      code: 409, reason: "AlreadyExists", message: "\(resource) \"\(name)\" already exists",
      details: details(resource, name))
  }

  package static func conflict(_ resource: QualifiedResource, _ name: String, _ why: String = modified) -> APIStatus {
    APIStatus(
      code: 409, reason: "Conflict", message: "Operation cannot be fulfilled on \(resource) \"\(name)\": \(why)",
      details: details(resource, name))
  }

  /// Why an update of a stale object fails.
  package static let modified =
    "the object has been modified; please apply your changes to the latest version and try again"

  package static func forbidden(_ resource: QualifiedResource, _ name: String, _ why: String) -> APIStatus {
    let subject = name.isEmpty ? "\(resource)" : "\(resource) \"\(name)\""
    return APIStatus(
      code: 403, reason: "Forbidden", message: "\(subject) is forbidden: \(why)", details: details(resource, name))
  }

  /// Creation in a namespace that is going away.
  package static func namespaceTerminating(
    _ resource: QualifiedResource, _ name: String, namespace: String
  ) -> APIStatus {
    var status = forbidden(
      resource, name, "unable to create new content in namespace \(namespace) because it is being terminated")
    status.details?.causes = [
      Cause(
        reason: "NamespaceTerminating", message: "namespace \(namespace) is being terminated",
        field: "metadata.namespace")
    ]
    return status
  }

  /// What validation found. - Parameter group: of the kind, empty for the core group.
  package static func invalid(kind: String, group: String, name: String, errors: [FieldError]) -> APIStatus {
    APIStatus(
      code: 422, reason: "Invalid",
      message: FieldError.statusMessage(kind: kind, group: group, name: name, errors: errors),
      details: Details(
        name: name, group: group, kind: kind,
        causes: errors.map { Cause(reason: $0.causeReason, message: $0.body, field: $0.path) }))
  }
}

// The errors of requests.
extension APIStatus {
  package static func badRequest(_ message: String) -> APIStatus {
    APIStatus(code: 400, reason: "BadRequest", message: message)
  }

  package static func unauthorized() -> APIStatus {
    APIStatus(code: 401, reason: "Unauthorized", message: "Unauthorized")
  }

  package static func methodNotAllowed(_ resource: QualifiedResource? = nil) -> APIStatus {
    APIStatus(
      code: 405, reason: "MethodNotAllowed",
      message: "the server does not allow this method on the requested resource",
      details: resource.map { Details(group: $0.group, kind: $0.resource) } ?? Details())
  }

  package static func notAcceptable(_ accepted: [String]) -> APIStatus {
    APIStatus(
      code: 406, reason: "NotAcceptable",
      message: "only the following media types are accepted: \(accepted.joined(separator: ", "))")
  }

  package static func unsupportedMediaType(_ accepted: [String]) -> APIStatus {
    APIStatus(
      code: 415, reason: "UnsupportedMediaType",
      message: "the body of the request was in an unknown format - accepted media types include: "
        + accepted.joined(separator: ", "))
  }

  package static func tooLarge(limitBytes: Int) -> APIStatus {
    APIStatus(
      code: 413, reason: "RequestEntityTooLarge", message: "Request entity is too large: limit is \(limitBytes)")
  }

  package static func tooManyRequests(retryAfterSeconds: Int = 1) -> APIStatus {
    APIStatus(
      code: 429, reason: "TooManyRequests", message: "Too many requests, please try again later.",
      details: Details(retryAfterSeconds: retryAfterSeconds))
  }

  package static func timeout(_ why: String = "request did not complete within requested timeout") -> APIStatus {
    APIStatus(code: 504, reason: "Timeout", message: "Timeout: \(why)", details: Details())
  }

  package static func internalError(_ why: String) -> APIStatus {
    APIStatus(
      code: 500, reason: "InternalError", message: "Internal error occurred: \(why)",
      details: Details(causes: [Cause(message: why)]))
  }

  package static func serviceUnavailable(_ why: String) -> APIStatus {
    APIStatus(code: 503, reason: "ServiceUnavailable", message: why)
  }

  /// A revision whose history is gone.
  package static func expired(_ message: String) -> APIStatus {
    APIStatus(code: 410, reason: "Expired", message: message)
  }

  package static func expired(revision: Int64, oldest: Int64) -> APIStatus {
    expired("too old resource version: \(revision) (\(oldest))")
  }

  /// A revision that has not been reached.
  package static func tooLargeRevision(_ revision: Int64, current: Int64) -> APIStatus {
    APIStatus(
      code: 504, reason: "Timeout", message: "Too large resource version: \(revision), current: \(current)",
      details: Details(
        causes: [Cause(reason: "ResourceVersionTooLarge", message: "Too large resource version")],
        retryAfterSeconds: 1))
  }
}
