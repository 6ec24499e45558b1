import JSON
import KubeModel

/// Definitions of custom resources; they have no struct, since their schema is JSON.
extension FieldErrors {
  mutating func definition(_ document: JSONValue) {
    let (spec, path) = (document["spec"] ?? [:], FieldPath("spec"))
    let group = spec["group"]?.string ?? ""
    let names = spec["names"] ?? [:]
    let plural = names["plural"]?.string ?? ""
    let name = document["metadata"]?["name"]?.string ?? ""
    if !name.isEmpty, name != "\(plural).\(group)" {
      invalid(FieldPath("metadata")["name"], name, "must be spec.names.plural+\".\"+spec.group")
    }
    if group.isEmpty {
      required(path["group"])
    } else {
      let messages = NameRules.dnsSubdomain(group)
      invalid(path["group"], group, messages)
      if messages.isEmpty, !group.contains(".") {
        invalid(path["group"], group, "should be a domain with at least one dot")
      }
    }
    let scopes = ["Cluster", "Namespaced"]
    switch spec["scope"]?.string ?? "" {
    case "": required(path["scope"])
    case let scope: choice(path["scope"], scope, of: scopes)
    }
    definitionNames(names, path["names"])
    definitionVersions(spec, path)
    definitionConversion(spec["conversion"], path["conversion"])
    if spec["preserveUnknownFields"]?.bool == true {
      invalid(
        path["preserveUnknownFields"], .bool(true),
        "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead")
    }
  }

  private mutating func definitionNames(_ names: JSONValue, _ path: FieldPath) {
    func joined(_ messages: [String]) -> String { messages.joined(separator: ",") }
    for field in ["plural", "singular"] {
      let value = names[field]?.string ?? ""
      if value.isEmpty {
        if field == "plural" { required(path[field]) }
        continue
      }
      let messages = NameRules.dns1035Label(value)
      if !messages.isEmpty { invalid(path[field], value, joined(messages)) }
    }
    for field in ["kind", "listKind"] {
      let value = names[field]?.string ?? ""
      if value.isEmpty {
        required(path[field])
        continue
      }
      let messages = NameRules.dns1035Label(value.lowercased())
      if !messages.isEmpty {
        invalid(path[field], value, "may have mixed case, but should otherwise match: \(joined(messages))")
      }
    }
    if let kind = names["kind"]?.string, !kind.isEmpty, names["listKind"]?.string == kind {
      invalid(path["listKind"], kind, "kind and listKind may not be the same")
    }
    for field in ["shortNames", "categories"] {
      for (index, value) in (names[field]?.array ?? []).compactMap(\.string).enumerated() {
        let messages = NameRules.dns1035Label(value)
        if !messages.isEmpty { invalid(path[field][index], value, joined(messages)) }
      }
    }
  }

  private mutating func definitionVersions(_ spec: JSONValue, _ path: FieldPath) {
    let versions = spec["versions"]?.array ?? []
    var seen: Set<String> = []
    var isUnique = true
    for (index, version) in versions.enumerated() {
      let at = path["versions"][index]
      let name = version["name"]?.string ?? ""
      let messages = NameRules.dns1035Label(name)
      if !messages.isEmpty { invalid(at["name"], name, messages.joined(separator: ",")) }
      if !seen.insert(name).inserted { isUnique = false }
      definitionColumns(version["additionalPrinterColumns"]?.array ?? [], at["additionalPrinterColumns"])
      if let scale = version["subresources"]?["scale"], scale.object != nil {
        definitionScale(scale, at["subresources"]["scale"])
      }
      if version["deprecated"]?.bool != true, version["deprecationWarning"]?.string != nil {
        invalid(
          at["deprecationWarning"], version["deprecationWarning"] ?? .null, "can only be set for deprecated versions")
      }
      guard let schema = version["schema"]?["openAPIV3Schema"], schema.object != nil else {
        required(at["schema"]["openAPIV3Schema"], "schemas are required")
        continue
      }
      StructuralCheck().root(schema, at["schema"]["openAPIV3Schema"], &self)
    }
    if !isUnique {
      invalid(
        path["versions"], JSONValue(versions.map { $0["name"]?.string ?? "" }), "must contain unique version names")
    }
    if versions.count(where: { $0["storage"]?.bool == true }) != 1 {
      invalid(
        path["versions"], JSONValue(versions.map { $0["name"]?.string ?? "" }),
        "must have exactly one version marked as storage version")
    }
  }

  private mutating func definitionColumns(_ columns: [JSONValue], _ path: FieldPath) {
    let types = ["boolean", "date", "integer", "number", "string"]
    for (index, column) in columns.enumerated() {
      if (column["name"]?.string ?? "").isEmpty { required(path[index]["name"]) }
      let type = column["type"]?.string ?? ""
      if type.isEmpty {
        required(path[index]["type"], "must be one of \(types.joined(separator: ","))")
      } else if !types.contains(type) {
        invalid(path[index]["type"], type, "must be one of \(types.joined(separator: ","))")
      }
      let jsonPath = column["jsonPath"]?.string ?? ""
      if jsonPath.isEmpty {
        required(path[index]["jsonPath"])
      } else if !jsonPath.hasPrefix(".") {
        invalid(path[index]["jsonPath"], jsonPath, "must be a simple json path starting with .")
      }
    }
  }

  private mutating func definitionScale(_ scale: JSONValue, _ path: FieldPath) {
    for (field, prefix) in [("specReplicasPath", ".spec."), ("statusReplicasPath", ".status.")] {
      let value = scale[field]?.string ?? ""
      if value.isEmpty {
        required(path[field])
      } else if !value.hasPrefix(prefix) {
        invalid(path[field], value, "should be a json path under \(prefix.dropLast())")
      }
    }
    if let value = scale["labelSelectorPath"]?.string, !value.isEmpty, !value.hasPrefix(".status."),
      !value.hasPrefix(".spec.")
    {
      invalid(path["labelSelectorPath"], value, "should be a json path under either .status or .spec")
    }
  }

  private mutating func definitionConversion(_ conversion: JSONValue?, _ path: FieldPath) {
    guard let conversion, conversion.object != nil else { return }
    switch conversion["strategy"]?.string ?? "" {
    case "": required(path["strategy"])
    case "None":
      if conversion["webhook"]?.object != nil {
        forbidden(path["webhook"], "should not be set when strategy is not set to Webhook")
      }
    case "Webhook":
      if conversion["webhook"]?["clientConfig"]?.object == nil {
        required(path["webhook"]["clientConfig"], "required when strategy is set to Webhook")
      }
    case let other: notSupported(path["strategy"], other, ["None", "Webhook"])
    }
  }

  mutating func updateDefinition(_ new: JSONValue, _ old: JSONValue) {
    definition(new)
    let path = FieldPath("spec")
    let wasEstablished = (old["status"]?["conditions"]?.array ?? []).contains {
      $0["type"] == "Established" && $0["status"] == "True"
    }
    if wasEstablished {
      for field in ["scope"] where new["spec"]?[field] != old["spec"]?[field] {
        invalid(path[field], new["spec"]?[field] ?? .null, "field is immutable")
      }
      if new["spec"]?["names"]?["kind"] != old["spec"]?["names"]?["kind"] {
        invalid(path["names"]["kind"], new["spec"]?["names"]?["kind"] ?? .null, "field is immutable")
      }
    }
    if new["spec"]?["group"] != old["spec"]?["group"] {
      invalid(path["group"], new["spec"]?["group"] ?? .null, "field is immutable")
    }
    if new["spec"]?["names"]?["plural"] != old["spec"]?["names"]?["plural"] {
      invalid(path["names"]["plural"], new["spec"]?["names"]?["plural"] ?? .null, "field is immutable")
    }
  }

  /// The versions in which objects may be stored are among those that the definition has.
  mutating func updateDefinitionStatus(_ new: JSONValue) {
    let names = Set((new["spec"]?["versions"]?.array ?? []).compactMap { $0["name"]?.string })
    for (index, version) in (new["status"]?["storedVersions"]?.array ?? []).compactMap(\.string).enumerated() {
      if !names.contains(version) {
        invalid(
          FieldPath("status")["storedVersions"][index], version, "must appear in spec.versions")
      }
    }
  }
}
