import JSON
import KubeModel
import KubePresentation
import KubeSchema

/// One version of a resource that a CustomResourceDefinition describes.
final class CustomResource: Sendable {
  struct Scale: Sendable {
    let specReplicas: [String]
    let statusReplicas: [String]
    let selector: [String]
  }

  static let definitionsPlural = "customresourcedefinitions"
  static let definitionsGroup = "apiextensions.k8s.io"
  /// Keys of the definitions.
  static let definitionsPrefix = "/customresourcedefinitions.apiextensions.k8s.io/"
  static let verbs = ["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"]

  /// Of the definition: `widgets.example.com`.
  let definition: String
  let schema: StructuralSchema
  let columns: [CustomColumn]
  let scale: Scale?
  let hasStatus: Bool
  /// Its definition is going away: nothing new is made.
  let isTerminating: Bool
  /// Said with every answer where the version is deprecated.
  let deprecation: String?
  let rows: [ResourceRow]
  let selectable: [String: [String]]
  /// As the schemas that clients read show it.
  let published: CustomKind
  let conversion: CustomConversion

  init(
    _ document: JSONValue, version: JSONValue, _ cache: ConversionCache
  ) throws(StructuralProblem) {
    conversion = CustomConversion(document, cache)
    let (spec, metadata) = (document["spec"] ?? [:], document["metadata"] ?? [:])
    let names = document["status"]?["acceptedNames"] ?? spec["names"] ?? [:]
    definition = metadata.text("name")
    schema = try StructuralSchema(version["schema"]?["openAPIV3Schema"] ?? ["type": "object"])
    let columns = (version["additionalPrinterColumns"]?.array ?? []).map { CustomColumn($0) }
    self.columns = columns.isEmpty ? [.age] : columns
    hasStatus = version["subresources"]?["status"] != nil
    scale = version["subresources"]?["scale"].map {
      Scale(
        specReplicas: Self.path($0.text("specReplicasPath")), statusReplicas: Self.path($0.text("statusReplicasPath")),
        selector: Self.path($0.text("labelSelectorPath")))
    }
    isTerminating = metadata["deletionTimestamp"] != nil
    let (group, name, kind) = (spec.text("group"), version.text("name"), names.text("kind"))
    deprecation =
      version["deprecated"]?.bool == true
      ? version["deprecationWarning"]?.string ?? "\(group)/\(name) \(kind) is deprecated" : nil
    func row(_ subresource: String?, _ kind: String, _ verbs: [String]) -> ResourceRow {
      ResourceRow(
        custom: group, version: name, resource: names.text("plural"), subresource: subresource,
        singular: subresource == nil ? names.text("singular") : "", kind: kind,
        isNamespaced: spec.text("scope") == "Namespaced", verbs: verbs,
        shortNames: subresource == nil ? names["shortNames"]?.array?.compactMap(\.string) ?? [] : [],
        categories: subresource == nil ? names["categories"]?.array?.compactMap(\.string) ?? [] : [])
    }
    var rows = [row(nil, kind, Self.verbs)]
    if hasStatus { rows.append(row("status", kind, ["get", "patch", "update"])) }
    if scale != nil { rows.append(row("scale", "Scale", ["get", "patch", "update"])) }
    self.rows = rows
    published = CustomKind(
      GroupVersionKind(group: group, version: name, kind: kind),
      listKind: names["listKind"]?.string ?? "\(kind)List", schema: schema.json)
    var selectable: [String: [String]] = [:]
    for field in version["selectableFields"]?.array ?? [] {
      let path = Self.path(field.text("jsonPath"))
      selectable[path.joined(separator: ".")] = path
    }
    self.selectable = selectable
  }

  /// `.spec.replicas` as a path of members.
  private static func path(_ text: String) -> [String] { text.split(separator: ".").map(String.init) }

  func served(_ table: Schema) -> ServedResource {
    let row = rows[0]
    let kind = GroupVersionKind(group: row.group, version: row.version, kind: row.kind)
    var subresources: [String: ServedResource.Subresource] = [:]
    for row in rows {
      if let name = row.subresource { subresources[name] = .init(kind: row.kind, verbs: Set(row.verbs)) }
    }
    var strategy = Strategy()
    strategy.allowsUnconditionalUpdate = false
    strategy.countsGenerations = true
    strategy.isWholeSpec = true
    strategy.selectable = selectable
    return ServedResource(
      type: ResourceType(
        group: row.group, version: row.version, plural: row.resource, kind: row.kind, isNamespaced: row.isNamespaced),
      schema: table.customType(kind), verbs: Set(row.verbs), strategy: strategy, subresources: subresources,
      custom: self)
  }
}
