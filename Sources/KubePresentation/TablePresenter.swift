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

  /// A `meta.k8s.io/v1` Table. Pure; reads the JSON of the objects, so that what is stored need not be decoded.
  /// - Parameter listMeta: the metadata of the list: resourceVersion, continue, remainingItemCount.
  /// - Parameter now: seconds since 1970, from which ages are reckoned.
  package static func table(
    resource: ResourceType, objects: [JSONValue], listMeta: JSONObject, includeObject: IncludedObject = .metadata,
    now: Int64
  ) -> JSONValue {
    let printer = Printers.printer(of: resource)
    let rows = objects.map { object -> JSONValue in
      var row: JSONObject = ["cells": .array(printer.cells(object, now))]
      if let conditions = printer.conditions?(object), !conditions.isEmpty { row["conditions"] = .array(conditions) }
      row["object"] = included(object, includeObject)
      return .object(row)
    }
    return [
      "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": .object(listMeta),
      "columnDefinitions": .array(printer.columns.map(\.json)), "rows": .array(rows),
    ]
  }

  /// The columns of a resource: objects of name, type, format, description and priority (above 0: only `-o wide`).
  package static func columns(_ resource: ResourceType) -> [JSONValue] {
    Printers.printer(of: resource).columns.map(\.json)
  }

  /// An object with nothing but its metadata: what `as=PartialObjectMetadata` asks for, and what rows carry.
  package static func partialMetadata(_ object: JSONValue) -> JSONValue {
    [
      "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"] ?? [:],
    ]
  }

  private static func included(_ object: JSONValue, _ what: IncludedObject) -> JSONValue {
    switch what {
    case .none: .null
    case .metadata: partialMetadata(object)
    case .object: object
    }
  }
}

/// A column of a table.
struct Column: Sendable {
  let name: String
  let type: String
  let format: String
  let description: String
  /// Above 0: only shown with `-o wide`.
  let priority: Int64

  init(
    _ name: String, type: String = "string", format: String = "", wide: Bool = false, _ description: String
  ) {
    (self.name, self.type, self.format, self.description) = (name, type, format, description)
    priority = wide ? 1 : 0
  }

  var json: JSONValue {
    [
      "name": .string(name), "type": .string(type), "format": .string(format), "description": .string(description),
      "priority": .integer(priority),
    ]
  }

  static let name = Column("Name", format: "name", "The name of the object, unique among its kind in a namespace.")
  static let age = Column("Age", "How long ago the object was created.")
}

/// How objects of one resource are shown.
struct Printer: Sendable {
  let columns: [Column]
  /// As many as there are columns.
  let cells: @Sendable (_ object: JSONValue, _ now: Int64) -> [JSONValue]
  var conditions: (@Sendable (_ object: JSONValue) -> [JSONValue])?
}

extension JSONValue {
  var metadata: JSONValue? { self["metadata"] }
  var name: JSONValue { self["metadata"]?["name"] ?? "" }
  func age(_ now: Int64) -> JSONValue { .string(HumanDuration.since(self["metadata"]?["creationTimestamp"], now: now)) }

  /// The text of a field; empty where it is absent.
  func text(_ key: String) -> String { self[key]?.string ?? "" }
  func integer(_ key: String) -> Int64 { self[key]?.integer ?? 0 }
  func list(_ key: String) -> [JSONValue] { self[key]?.array ?? [] }
  func count(_ key: String) -> Int64 { Int64(self[key]?.object?.count ?? self[key]?.array?.count ?? 0) }
}

extension String {
  /// A cell is never empty: columns are told apart by blanks.
  func orElse(_ placeholder: String) -> String { isEmpty ? placeholder : self }
}
