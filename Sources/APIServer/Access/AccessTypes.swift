package import HTTPServer
package import JSON

/// Who asks, once proven.
package struct UserInfo: Hashable, Sendable {
  package var name: String
  package var groups: [String]

  package init(name: String, groups: [String]) {
    self.name = name
    self.groups = groups
  }

  package static let mastersGroup = "system:masters"
  package static let nodesGroup = "system:nodes"
  package static let authenticatedGroup = "system:authenticated"
  package static let nodePrefix = "system:node:"

  /// The name of the node that this user is; nil for others.
  package var nodeName: String? {
    guard groups.contains(Self.nodesGroup), name.hasPrefix(Self.nodePrefix) else { return nil }
    return String(name.dropFirst(Self.nodePrefix.count))
  }
}

/// What is asked for, in the words of Kubernetes' authorization.
package struct AccessAttributes: Hashable, Sendable {
  /// get, list, watch, create, update, patch, delete, deletecollection; for paths that are no resource, the HTTP
  /// method in lower case.
  package var verb: String
  package var group: String
  package var version: String
  /// The plural; empty for a path that is no resource.
  package var resource: String
  package var subresource: String
  package var namespace: String
  package var name: String
  /// The whole path.
  package var path: String
  /// What a list or watch was narrowed to by `metadata.name=`; empty: not narrowed.
  package var nameSelector: String
  /// What a list or watch of pods was narrowed to by `spec.nodeName=`; empty: not narrowed.
  package var nodeSelector: String

  package init(
    verb: String, group: String = "", version: String = "v1", resource: String = "", subresource: String = "",
    namespace: String = "", name: String = "", path: String = "", nameSelector: String = "",
    nodeSelector: String = ""
  ) {
    self.verb = verb
    self.group = group
    self.version = version
    self.resource = resource
    self.subresource = subresource
    self.namespace = namespace
    self.name = name
    self.path = path
    self.nameSelector = nameSelector
    self.nodeSelector = nodeSelector
  }
}

/// A refusal as it goes to the client: a Status.
package struct AccessRefusal: Error, Hashable, Sendable {
  package var code: Int
  package var reason: String
  package var message: String
  /// `details` of the Status; null without.
  package var details: JSONValue

  package init(code: Int, reason: String, message: String, details: JSONValue) {
    self.code = code
    self.reason = reason
    self.message = message
    self.details = details
  }

  package init(code: Int, reason: String, message: String) {
    self.init(code: code, reason: reason, message: message, details: .null)
  }

  package static let unauthorized = AccessRefusal(code: 401, reason: "Unauthorized", message: "Unauthorized")

  package var status: JSONValue {
    var status: JSONObject = [
      "kind": "Status", "apiVersion": "v1", "metadata": [:], "status": "Failure", "message": .string(message),
    ]
    if !reason.isEmpty { status["reason"] = .string(reason) }
    if !details.isNull { status["details"] = details }
    status["code"] = .integer(Int64(code))
    return .object(status)
  }

  package var response: HTTPResponse {
    HTTPResponse(
      status: code, headers: ["Content-Type": "application/json", "Cache-Control": "no-cache, private"],
      body: .bytes(status.encoded()))
  }
}

/// Looks into the objects for what access depends on: which pod is where, and what it refers to.
package struct ObjectReader: Sendable {
  /// The object at a key such as `/pods/NAMESPACE/NAME` or `/nodes/NAME`.
  package var object: @Sendable (_ key: String) -> JSONValue?
  /// All objects below a prefix such as `/pods/NAMESPACE/`.
  package var objects: @Sendable (_ prefix: String) -> [JSONValue]
  /// Whether a pod of `node` in `namespace` refers to this Secret, or else ConfigMap.
  package var refers: @Sendable (_ node: String, _ namespace: String, _ name: String, _ isSecret: Bool) -> Bool

  package init(
    object: @escaping @Sendable (_ key: String) -> JSONValue?,
    objects: @escaping @Sendable (_ prefix: String) -> [JSONValue]
  ) {
    self.object = object
    self.objects = objects
    refers = { node, namespace, name, isSecret in
      objects("/pods/\(namespace)/").contains { pod in
        pod.text(at: "spec", "nodeName") == node && PodReferences(pod).contains(name, isSecret: isSecret)
      }
    }
  }
}

/// Who may do what, and the way to the nodes.
package struct Access: Sendable {
  package var authenticator: Authenticator
  package var authorizer: Authorizer
  package var nodes: NodeProxy

  package init(authenticator: Authenticator = Authenticator(), authorizer: Authorizer, nodes: NodeProxy) {
    self.authenticator = authenticator
    self.authorizer = authorizer
    self.nodes = nodes
  }

  /// - Parameter identity: the server's client certificate for the nodes, read anew for every connection.
  package init(reader: ObjectReader, nodeIdentity: @escaping @Sendable () -> HTTPDialIdentity) {
    self.init(authorizer: Authorizer(reader: reader), nodes: NodeProxy(reader: reader, identity: nodeIdentity))
  }

  /// Who sent the request.
  /// - Throws: 401.
  package func user(of request: HTTPRequest) throws(AccessRefusal) -> UserInfo {
    guard let user = authenticator.user(of: request) else { throw .unauthorized }
    return user
  }

  /// - Throws: 403 in Kubernetes' words.
  package func check(_ user: UserInfo, _ attributes: AccessAttributes) throws(AccessRefusal) {
    try authorizer.check(user, attributes)
  }
}
