package import KubeModel

/// The name of an object of one resource: what queues and caches go by.
package struct ObjectKey: Hashable, Comparable, Sendable, CustomStringConvertible {
  /// Empty for objects of the cluster.
  package let namespace: String
  package let name: String

  package init(namespace: String = "", name: String) {
    self.namespace = namespace
    self.name = name
  }

  package init(_ object: some KubeKind) {
    self.init(namespace: object.metadata.namespace ?? "", name: object.metadata.name ?? "")
  }

  package static func < (left: Self, right: Self) -> Bool {
    (left.namespace, left.name) < (right.namespace, right.name)
  }

  package var description: String { namespace.isEmpty ? name : "\(namespace)/\(name)" }
}

extension ObjectReference {
  /// A reference to an object that the server has.
  package init(to object: some KubeKind) {
    self.init()
    apiVersion = type(of: object).apiVersion
    kind = type(of: object).kind
    name = object.metadata.name
    namespace = object.metadata.namespace
    uid = object.metadata.uid
    resourceVersion = object.metadata.resourceVersion
  }
}

extension ObjectMeta {
  /// The owner that controls this object, where there is one.
  package var controllerReference: OwnerReference? { ownerReferences.first { $0.controller == true } }
}
