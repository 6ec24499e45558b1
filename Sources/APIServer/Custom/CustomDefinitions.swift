import JSON
import KubeModel
import KubeSchema
import KubeValidation
import Logging
import ObjectStore

/// What a CustomResourceDefinition says of itself, decided from it and the resources that are there.
///
/// https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/
enum CustomDefinitions {
  static let finalizer = "customresourcecleanup.apiextensions.k8s.io"

  private static func condition(_ document: JSONValue, _ type: String) -> JSONValue? {
    document["status"]?["conditions"]?.array?.first { $0.text("type") == type }
  }

  static func isEstablished(_ document: JSONValue) -> Bool {
    condition(document, "Established")?.text("status") == "True"
  }

  /// Names as they are served: what the definition leaves out follows from its kind.
  private static func names(_ object: JSONObject) -> JSONObject {
    var names = object[object: "spec"][object: "names"]
    let kind = names.text("kind")
    names.setDefault("singular", .string(kind.lowercased()))
    names.setDefault("listKind", .string("\(kind)List"))
    return names
  }

  /// Sets defaults, and the status that follows from the names. - Parameter taken: whether a name of the group is
  /// another's: its plural, its kind.
  static func settle(
    _ object: inout JSONObject, old: JSONObject?, now: Int64, _ taken: (_ plural: String, _ kind: String) -> String?
  ) {
    let names = names(object)
    object[object: "spec"]["names"] = .object(names)
    if object[object: "spec"]["conversion"] == nil { object[object: "spec"]["conversion"] = ["strategy": "None"] }
    var status = old?[object: "status"] ?? [:]
    let problem = taken(names.text("plural"), names.text("kind"))
    if problem == nil { status["acceptedNames"] = .object(names) }
    let stored = (object[object: "spec"]["versions"]?.array ?? []).first { $0["storage"]?.bool == true }
    var versions = status["storedVersions"]?.array?.compactMap(\.string) ?? []
    if let name = stored?.text("name"), !versions.contains(name) { versions.append(name) }
    status["storedVersions"] = JSONValue(versions)
    if status["acceptedNames"] == nil { status["acceptedNames"] = ["plural": "", "kind": ""] }
    let time = ObjectNames.time(now)
    var conditions = status["conditions"]?.array ?? []
    func set(_ type: String, _ isTrue: Bool, _ reason: String, _ message: String) {
      let text = isTrue ? "True" : "False"
      let place = conditions.firstIndex { $0.text("type") == type }
      if let place, conditions[place].text("status") == text, conditions[place].text("reason") == reason { return }
      let made: JSONValue = [
        "lastTransitionTime": .string(time), "message": .string(message), "reason": .string(reason),
        "status": .string(text), "type": .string(type),
      ]
      if let place { conditions[place] = made } else { conditions.append(made) }
    }
    set(
      "NamesAccepted", problem == nil, problem == nil ? "NoConflicts" : "NamesConflict", problem ?? "no conflicts found"
    )
    let wasEstablished = conditions.contains { $0.text("type") == "Established" && $0.text("status") == "True" }
    if problem == nil {
      set("Established", true, "InitialNamesAccepted", "the initial names have been accepted")
    } else if !wasEstablished {
      set("Established", false, "NotAccepted", "not all names are accepted")
    }
    status["conditions"] = .array(conditions)
    object["status"] = .object(status)
  }

  /// Formats of texts that Kubernetes knows; others say nothing.
  private static let formats: Set<String> = [
    "bsonobjectid", "uri", "email", "hostname", "ipv4", "ipv6", "cidr", "mac", "uuid", "uuid3", "uuid4", "uuid5",
    "isbn", "isbn10", "isbn13", "creditcard", "ssn", "hexcolor", "rgbcolor", "byte", "password", "date", "duration",
    "datetime",
    "date-time", "int32", "int64", "float", "double", "k8s-short-name", "k8s-long-name", "int-or-string",
  ]
  /// Schemas within schemas; definitions are held to less.
  private static let depthMax = 64

  /// What a definition says that means nothing.
  static func warnings(_ object: JSONObject) -> [String] {
    var unknown: Set<String> = []
    func look(_ schema: JSONValue, _ depth: Int) {
      guard depth < depthMax else { return }
      if let format = schema["format"]?.string, !format.isEmpty, !formats.contains(format) { unknown.insert(format) }
      for (_, inner) in schema["properties"]?.object?.members ?? [] { look(inner, depth + 1) }
      for key in ["items", "additionalProperties"] {
        if let inner = schema[key], inner.object != nil { look(inner, depth + 1) }
      }
    }
    for version in object[object: "spec"]["versions"]?.array ?? [] {
      look(version["schema"]?["openAPIV3Schema"] ?? [:], 0)
    }
    return unknown.sorted().map { "unrecognized format \"\($0)\"" }
  }
}

extension APIServer {
  static func isDefinition(_ resource: ServedResource) -> Bool {
    resource.type.plural == CustomResource.definitionsPlural && resource.type.group == CustomResource.definitionsGroup
  }

  /// Gives a definition its status, and its finalizer.
  func settleDefinition(_ object: inout JSONObject, old: JSONObject?, _ now: Int64) {
    let name = object[object: "metadata"].text("name")
    let group = object[object: "spec"].text("group")
    if old == nil {
      object[object: "metadata"]["finalizers"] = JSONValue(
        ObjectMetadata(object).finalizers.filter { $0 != CustomDefinitions.finalizer } + [CustomDefinitions.finalizer])
    }
    CustomDefinitions.settle(&object, old: old, now: now) { plural, kind in
      for other in resources.tableRows where other.type.group == group {
        if other.type.plural == plural { return "\"\(plural)\" is already in use" }
        if other.kind == kind { return "\"\(kind)\" is already in use" }
      }
      for other in resources.custom.current.all where other.type.group == group && other.custom?.definition != name {
        if other.kind == kind { return "\"\(kind)\" is already in use" }
      }
      return nil
    }
  }

  /// Removes the objects of a definition that is going away, and the definition with the last of them.
  func clearDefinition(_ name: String, _ context: RequestContext) async {
    for resource in resources.custom.current.all where resource.custom?.definition == name {
      await removeObjects(of: resource, prefix: resource.prefix, context)
    }
    await finishDefinition(name)
  }

  /// Removes the custom resources of a namespace that is going away.
  func clearCustomObjects(namespace: String, _ context: RequestContext) async {
    for resource in resources.custom.current.all where resource.type.isNamespaced {
      await removeObjects(of: resource, prefix: resource.prefix(namespace: namespace), context)
    }
  }

  private func removeObjects(of resource: ServedResource, prefix: String, _ context: RequestContext) async {
    let owner = RequestContext(
      request: context.request, info: context.info, user: context.user, resource: resource,
      negotiated: context.negotiated, now: context.now)
    for object in store.list(prefix: prefix).objects {
      let name = String(object.key.split(separator: "/").last ?? "")
      // Gone already is as good; what fails is tried when the definition is deleted again.
      _ = try? await delete(owner, key: object.key, name: name, DeleteOptions())
    }
  }

  /// Takes the finalizer from a definition that is going away and has no objects.
  func finishDefinition(_ name: String) async {
    let key = CustomResource.definitionsPrefix + name
    for _ in 0..<3 {
      guard let stored = store.get(key), let document = try? JSONValue.parse(stored.value).object,
        ObjectMetadata(document).deletionTimestamp != nil,
        let resource = resources.resource(
          apiVersion: "\(CustomResource.definitionsGroup)/v1", plural: CustomResource.definitionsPlural)
      else { return }
      let spec = document[object: "spec"]
      let prefix = "/\(spec[object: "names"].text("plural")).\(spec.text("group"))/"
      guard store.list(prefix: prefix, limit: 1).objects.isEmpty else { return }
      let finalizers = ObjectMetadata(document).finalizers.filter { $0 != CustomDefinitions.finalizer }
      var object = document
      object[object: "metadata"]["finalizers"] = finalizers.isEmpty ? nil : JSONValue(finalizers)
      let transaction =
        finalizers.isEmpty
        ? Transaction(checks: [key: stored.revision], deletes: [key])
        : Transaction(checks: [key: stored.revision], puts: [(key, resource.stored(object))])
      do throws(StoreError) {
        _ = try await store.commit(transaction)
        index.forget(key)
        return
      } catch {
        guard case .conflict = error else {
          logger.warning("delete(\(key)): \(error); delete it again")
          return
        }
      }
    }
  }
}
