import JSON

/// Refusals in the words that users of Kubernetes know.
extension AccessRefusal {
  /// - Parameter why: what is added for the user; empty for nothing.
  static func forbidden(_ user: UserInfo, _ attributes: AccessAttributes, why: String = "") -> AccessRefusal {
    let tail = why.isEmpty ? "" : ": \(why)"
    guard !attributes.resource.isEmpty else {
      return AccessRefusal(
        code: 403, reason: "Forbidden",
        message: "forbidden: User \"\(user.name)\" cannot \(attributes.verb) path \"\(attributes.path)\"\(tail)",
        details: [:])
    }
    let kind = attributes.group.isEmpty ? attributes.resource : "\(attributes.resource).\(attributes.group)"
    let what = attributes.name.isEmpty ? kind : "\(kind) \"\(attributes.name)\""
    let full =
      attributes.subresource.isEmpty ? attributes.resource : "\(attributes.resource)/\(attributes.subresource)"
    let place =
      attributes.namespace.isEmpty ? "at the cluster scope" : "in the namespace \"\(attributes.namespace)\""
    var details = JSONObject()
    if !attributes.name.isEmpty { details["name"] = .string(attributes.name) }
    if !attributes.group.isEmpty { details["group"] = .string(attributes.group) }
    details["kind"] = .string(attributes.resource)
    return AccessRefusal(
      code: 403, reason: "Forbidden",
      message: """
        \(what) is forbidden: User "\(user.name)" cannot \(attributes.verb) resource "\(full)" in API group \
        "\(attributes.group)" \(place)\(tail)
        """, details: .object(details))
  }

  static func notFound(_ resource: String, _ name: String) -> AccessRefusal {
    AccessRefusal(
      code: 404, reason: "NotFound", message: "\(resource) \"\(name)\" not found",
      details: ["name": .string(name), "kind": .string(resource)])
  }

  static func badRequest(_ message: String) -> AccessRefusal {
    AccessRefusal(code: 400, reason: "BadRequest", message: message)
  }

  /// The node cannot be reached, or broke off.
  static func node(_ error: String) -> AccessRefusal {
    AccessRefusal(code: 500, reason: "", message: "error dialing backend: \(error)")
  }

  /// What a node answered instead of what was asked for.
  static func answered(_ status: Int, _ text: String, name: String, subresource: String) -> AccessRefusal {
    let words = String(text.prefix { !$0.isNewline || $0 == " " })
    switch status {
    case 400: return badRequest(words)
    case 404:
      return AccessRefusal(
        code: 404, reason: "NotFound",
        message: words.isEmpty ? "the server could not find the requested resource" : words,
        details: ["name": .string(name), "kind": .string("pods/\(subresource)")])
    case 401, 403:
      // Not the user's fault: the server itself was refused.
      return AccessRefusal(
        code: 500, reason: "InternalError", message: "Internal error occurred: the node refused this server: \(words)",
        details: ["causes": [["message": .string(words)]]])
    case 500:
      return AccessRefusal(
        code: 500, reason: "InternalError", message: "Internal error occurred: \(words)",
        details: ["causes": [["message": .string(words)]]])
    default:
      return AccessRefusal(code: status, reason: "", message: words.isEmpty ? "the node answered \(status)" : words)
    }
  }
}

extension JSONValue {
  func at(_ path: String...) -> JSONValue? {
    var value: JSONValue? = self
    for key in path { value = value?[key] }
    return value
  }

  /// The text at a path; empty where there is none.
  func text(at path: String...) -> String {
    var value: JSONValue? = self
    for key in path { value = value?[key] }
    return value?.string ?? ""
  }
}
