/// A resource of the API: what its path, its discovery entry and its client are named by.
package struct ResourceType: Hashable, Sendable {
  /// Empty for the core group.
  package let group: String
  package let version: String
  /// As in paths: `pods`.
  package let plural: String
  package let kind: String
  package let isNamespaced: Bool

  package init(group: String, version: String, plural: String, kind: String, isNamespaced: Bool) {
    self.group = group
    self.version = version
    self.plural = plural
    self.kind = kind
    self.isNamespaced = isNamespaced
  }

  /// `v1` or `apps/v1`.
  package var apiVersion: String { group.isEmpty ? version : "\(group)/\(version)" }

  /// The path of the collection: `/api/v1/namespaces/NAMESPACE/pods`, or over all namespaces where `namespace` is nil.
  package func path(namespace: String?) -> String {
    let root = group.isEmpty ? "/api/\(version)" : "/apis/\(group)/\(version)"
    guard isNamespaced, let namespace else { return "\(root)/\(plural)" }
    return "\(root)/namespaces/\(namespace)/\(plural)"
  }
}

/// A kind that the API serves as a resource.
package protocol KubeResource: KubeKind {
  static var resource: ResourceType { get }
}
