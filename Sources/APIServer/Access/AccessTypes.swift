package import HTTPServer
package import JSON
package import ObjectStore
import PKI

/// Who asks, once proven.
package struct UserInfo: Hashable, Sendable {
  package var name: String
  package var groups: [String]
  /// Empty where who proves the name gives none.
  package var uid: String
  /// What else the proof says, such as the pod that a token is bound to.
  package var extra: [String: [String]]

  package init(name: String, groups: [String], uid: String = "", extra: [String: [String]] = [:]) {
    self.name = name
    self.groups = groups
    self.uid = uid
    self.extra = extra
  }

  /// As reviews and the audit log write it.
  package var json: JSONValue {
    var object: JSONObject = ["username": .string(name)]
    if !uid.isEmpty { object["uid"] = .string(uid) }
    object["groups"] = JSONValue(groups)
    if !extra.isEmpty { object["extra"] = .object(JSONObject(sorted: extra.mapValues { JSONValue($0) })) }
    return .object(object)
  }

  package static let anonymous = UserInfo(name: "system:anonymous", groups: ["system:unauthenticated"])
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
  /// Whether a pod of `node` in `namespace` runs as this service account.
  package var usesAccount: @Sendable (_ node: String, _ namespace: String, _ name: String) -> Bool

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
    usesAccount = { node, namespace, name in
      objects("/pods/\(namespace)/").contains { pod in
        pod.text(at: "spec", "nodeName") == node && PodReferences(pod).account == name
      }
    }
  }
}

/// Who may do what, and the way to the nodes.
package struct Access: Sendable {
  package var authenticator: Authenticator
  package var authorizer: Authorizer
  package var nodes: NodeProxy
  /// Signs and checks the tokens of service accounts.
  package var tokens: TokenAuthority
  /// What is written down of requests; nil: nothing.
  package var audit: AuditLog?
  package let reader: ObjectReader

  package init(
    authenticator: Authenticator = Authenticator(), authorizer: Authorizer, nodes: NodeProxy,
    tokens: TokenAuthority? = nil, reader: ObjectReader = ObjectReader(object: { _ in nil }, objects: { _ in [] })
  ) {
    self.authenticator = authenticator
    self.authorizer = authorizer
    self.nodes = nodes
    self.reader = reader
    self.tokens = tokens ?? TokenAuthority(keys: .ephemeral(), reader: reader)
  }

  /// - Parameter nodeIdentity: the server's client certificate for the nodes, read anew for every connection.
  package init(reader: ObjectReader, nodeIdentity: @escaping @Sendable () -> HTTPDialIdentity) {
    self.init(
      authorizer: Authorizer(reader: reader), nodes: NodeProxy(reader: reader, identity: nodeIdentity), reader: reader)
  }

  /// With the roles and bindings of a store, and its clock: seconds since 1970.
  package func attached(to store: ObjectStore, now: @escaping @Sendable () -> Int64) -> Access {
    var access = self
    access.authorizer.roles = RoleIndex(store)
    access.tokens.now = now
    return access
  }

  /// Who sent the request: by its connection, or else by its token.
  /// - Throws: 401.
  package func user(of request: HTTPRequest) throws(AccessRefusal) -> UserInfo {
    if let user = authenticator.user(of: request) { return user }
    guard request.peer == .anonymous, let token = Self.bearer(request) else { throw .unauthorized }
    do throws(TokenRefusal) {
      return try tokens.authenticate(token, audiences: nil).user
    } catch {
      throw .unauthorized
    }
  }

  /// RFC 6750, 2.1.
  static func bearer(_ request: HTTPRequest) -> String? {
    guard let header = request.headers["authorization"], header.utf8.count <= TokenKeys.tokenBytesMax + 16 else {
      return nil
    }
    let parts = header.split(separator: " ", maxSplits: 1)
    guard parts.count == 2, parts[0].lowercased() == "bearer" else { return nil }
    let token = parts[1].drop { $0 == " " }
    return token.isEmpty || token.contains(" ") ? nil : String(token)
  }

  /// - Throws: 403 in Kubernetes' words.
  package func check(_ user: UserInfo, _ attributes: AccessAttributes) throws(AccessRefusal) {
    try authorizer.check(user, attributes)
  }
}
