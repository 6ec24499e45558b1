package import HTTPServer

/// The way to a pod's node: log, exec, attach and portforward.
package struct NodeProxy: Sendable {
  private let reader: ObjectReader
  private let identity: @Sendable () -> HTTPDialIdentity

  package init(reader: ObjectReader, identity: @escaping @Sendable () -> HTTPDialIdentity) {
    self.reader = reader
    self.identity = identity
  }

  /// Whether `subresource` of a pod is answered by its node.
  package static func serves(subresource: String) -> Bool {
    ["log", "exec", "attach", "portforward"].contains(subresource)
  }

  /// Answers GET or POST `/api/v1/namespaces/NAMESPACE/pods/NAME/SUBRESOURCE` for a user who may.
  package func respond(
    to request: HTTPRequest, namespace: String, pod: String, subresource: String
  ) async -> HTTPResponse {
    AccessRefusal(code: 501, reason: "NotImplemented", message: "not served yet").response
  }
}
