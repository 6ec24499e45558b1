package import HTTPServer

/// What a request is about, read from its method and path.
///
/// https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-uris
package struct RequestInfo: Hashable, Sendable {
  /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`; for other paths the method in
  /// small letters.
  package var verb: String
  /// False for discovery, health and the like.
  package var isResourceRequest: Bool
  /// Without the query.
  package var path: String
  /// Empty for the core group.
  package var group = ""
  package var version = ""
  /// Empty: the path stands for all namespaces, or the resource has none.
  package var namespace = ""
  package var resource = ""
  package var subresource = ""
  package var name = ""
  /// What follows the subresource: `proxy/…`.
  package var rest = ""

  /// `pods`, `deployments.apps`.
  package var qualifiedResource: QualifiedResource { QualifiedResource(group: group, resource: resource) }

  /// `v1`, `apps/v1`.
  package var apiVersion: String { group.isEmpty ? version : "\(group)/\(version)" }

  /// Requests that take as long as their client wishes have no deadline.
  package var isLongRunning: Bool {
    verb == "watch" || ["exec", "attach", "portforward", "log", "proxy"].contains(subresource)
  }

  /// - Parameter path: decoded, without the query.
  package init(method: String, path: String, query: HTTPQuery) {
    self.path = path
    verb = method.lowercased()
    isResourceRequest = false
    var parts = path.split(separator: "/", omittingEmptySubsequences: true).map(String.init)[...]
    switch parts.popFirst() {
    case "api":
      guard let version = parts.popFirst() else { return }
      self.version = version
    case "apis":
      guard let group = parts.popFirst(), let version = parts.popFirst() else { return }
      self.group = group
      self.version = version
    default: return
    }
    guard !parts.isEmpty else { return }
    isResourceRequest = true
    var isWatchPath = false
    if parts.first == "watch", parts.count > 1 {  // the old form of a watch
      isWatchPath = true
      parts.removeFirst()
    }
    readResource(parts)
    verb = Self.verb(method: method, hasName: !name.isEmpty, isWatch: isWatchPath || query.flag("watch"))
    if verb == "list" || verb == "watch" || verb == "deletecollection", let text = query["fieldSelector"] {
      fieldSelector = try? FieldSelector(text)
    }
  }

  /// Of a request for a collection, where it has one that can be read; authorization may look at it.
  package var fieldSelector: FieldSelector?

  private mutating func readResource(_ parts: ArraySlice<String>) {
    var parts = parts
    if parts.first == "namespaces", parts.count > 1 {
      let name = parts[parts.startIndex + 1]
      let third = parts.count > 2 ? parts[parts.startIndex + 2] : nil
      if let third, third != "status", third != "finalize" {
        namespace = name
        parts = parts.dropFirst(2)
      } else {
        // The namespace itself.
        namespace = name
      }
    }
    resource = parts.popFirst() ?? ""
    name = parts.popFirst() ?? ""
    subresource = parts.popFirst() ?? ""
    rest = parts.joined(separator: "/")
  }

  private static func verb(method: String, hasName: Bool, isWatch: Bool) -> String {
    switch method {
    case "GET", "HEAD": isWatch ? "watch" : hasName ? "get" : "list"
    case "POST": "create"
    case "PUT": "update"
    case "PATCH": "patch"
    case "DELETE": hasName ? "delete" : "deletecollection"
    default: method.lowercased()
    }
  }
}

extension HTTPQuery {
  /// Whether a name is there and says anything but no.
  func flag(_ name: String) -> Bool {
    guard let value = self[name] else { return false }
    return value != "false" && value != "0"
  }
}
