package import JSON
package import KubeModel

/// Objects as the table that `kubectl get` prints: https://kubernetes.io/docs/reference/using-api/api-concepts/
package enum TablePresenter {
  /// What a row carries of its object besides the cells.
  package enum IncludedObject: String, Sendable {
    case none = "None"
    case metadata = "Metadata"
    case object = "Object"
  }

  /// A `meta.k8s.io/v1` Table. Pure.
  /// - Parameter listMeta: the metadata of the list: resourceVersion, continue, remainingItemCount.
  /// - Parameter now: seconds since 1970, from which ages are reckoned.
  package static func table(
    resource: ResourceType, objects: [JSONValue], listMeta: JSONObject, includeObject: IncludedObject = .metadata,
    now: Int64
  ) -> JSONValue {
    [
      "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": .object(listMeta), "columnDefinitions": [],
      "rows": [],
    ]
  }

  /// The columns of a resource: objects of name, type, format, description and priority (above 0: only `-o wide`).
  package static func columns(_ resource: ResourceType) -> [JSONValue] { [] }
}
