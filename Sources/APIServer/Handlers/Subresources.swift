import HTTPServer
import JSON
import KubeSchema
import KubeValidation
import ObjectStore

extension APIServer {
  /// pods/binding and bindings: gives a pod its node, once.
  func bind(_ context: RequestContext) async throws(APIStatus) -> HTTPResponse {
    let options = try WriteOptions(context.query, kind: "CreateOptions")
    guard let type = schema.type(apiVersion: "v1", kind: "Binding"),
      let pods = resources.resource(apiVersion: "v1", plural: "pods")
    else { throw .internalError("bind: the table has no Binding") }
    let bytes = try await body(context.request)
    let read = try checked(
      try parse(bytes, try Self.encoding(context.request), kind: "Binding"), apiVersion: "v1", kind: "Binding",
      type: type, options.fieldValidation)
    let metadata = ObjectMetadata(read.object)
    let name = context.info.name.isEmpty ? metadata.name : context.info.name
    guard metadata.name == name || metadata.name.isEmpty else {
      throw .badRequest("name in URL does not match name in Binding object")
    }
    let target = read.object[object: "target"]
    let node = target.text("name")
    guard !node.isEmpty else {
      throw .invalid(
        kind: "Binding", group: "", name: name,
        errors: [.init(path: "target.name", reason: .required)])
    }
    let kind = target.text("kind")
    guard kind.isEmpty || kind == "Node" || kind == "Minion" else {
      throw .invalid(
        kind: "Binding", group: "", name: name,
        errors: [.unsupported("target.kind", kind, ["Node", "<empty>"])])
    }
    var info = context.info
    (info.resource, info.name, info.verb) = ("pods", name, "patch")
    let podContext = RequestContext(
      request: context.request, info: info, user: context.user, resource: pods, negotiated: context.negotiated,
      now: context.now)
    _ = try await change(podContext, .everything, isDryRun: options.isDryRun) { pod throws(APIStatus) in
      try Self.bound(pod, to: node, uid: metadata.uid, name: name, context.now)
    }
    let answer: JSONValue = [
      "kind": "Status", "apiVersion": "v1", "metadata": [:], "status": "Success", "code": 201,
    ]
    return encoded(answer, context.negotiated.encoding, code: 201)
  }

  private static func bound(
    _ pod: JSONObject, to node: String, uid: String, name: String, _ now: Int64
  ) throws(APIStatus) -> JSONObject {
    let resource = QualifiedResource(group: "", resource: "pods/binding")
    let metadata = ObjectMetadata(pod)
    if !uid.isEmpty, uid != metadata.uid {
      throw .conflict(
        resource, name, "Precondition failed: UID in precondition: \(uid), UID in object meta: \(metadata.uid)")
    }
    if metadata.deletionTimestamp != nil {
      throw .conflict(resource, name, "pod \(name) is being deleted, cannot be assigned to a host")
    }
    let present = pod[object: "spec"].text("nodeName")
    guard present.isEmpty else {
      throw .conflict(resource, name, "pod \(name) is already assigned to node \"\(present)\"")
    }
    var pod = pod
    pod[object: "spec"]["nodeName"] = .string(node)
    let condition: JSONValue = [
      "type": "PodScheduled", "status": "True", "lastProbeTime": .null,
      "lastTransitionTime": .string(ObjectNames.time(now)),
    ]
    var conditions = pod[object: "status"]["conditions"]?.array ?? []
    conditions.removeAll { $0.text("type") == "PodScheduled" }
    pod[object: "status"]["conditions"] = .array(conditions + [condition])
    return pod
  }

  /// The scale of a Deployment or ReplicaSet: a view of the object that shows and takes `replicas` only.
  func scale(_ context: RequestContext) async throws(APIStatus) -> HTTPResponse {
    guard let stored = store.get(context.key) else { throw context.notFound() }
    let current = try document(
      AnsweredObject(value: stored.value, revision: stored.revision), context.resource)
    if context.info.verb == "get" { return try scaleAnswer(current, context, warnings: []) }
    guard let type = schema.type(apiVersion: "autoscaling/v1", kind: "Scale") else {
      throw .internalError("scale: the table has no Scale")
    }
    let options = try WriteOptions(
      context.query, kind: context.info.verb == "patch" ? "PatchOptions" : "UpdateOptions")
    var replacement: JSONValue?
    var patch: (JSONValue, PatchType)?
    if context.info.verb == "patch" {
      let patchType = try Self.patchType(context.request)
      patch = (try await patchDocument(context.request, patchType), patchType)
    } else {
      let bytes = try await body(context.request)
      replacement = try parse(bytes, try Self.encoding(context.request), kind: "Scale")
    }
    var warnings: [String] = []
    let updated = try await change(context, .object, isDryRun: options.isDryRun) { old throws(APIStatus) in
      let scale = Self.scale(of: .object(old), uidOf: old, context.resource.custom?.scale)
      var wanted = replacement ?? scale
      if let (patch, patchType) = patch {
        wanted = try Self.patched(scale.object ?? [:], patch, patchType, type, self.schema)
      }
      let read = try self.checked(
        wanted, apiVersion: "autoscaling/v1", kind: "Scale", type: type, options.fieldValidation)
      warnings = read.warnings
      return try Self.scaled(old, read.object, context)
    }
    return try scaleAnswer(try document(updated, context.resource), context, warnings: warnings)
  }

  private static func scaled(
    _ old: JSONObject, _ scale: JSONObject, _ context: RequestContext
  ) throws(APIStatus) -> JSONObject {
    let metadata = ObjectMetadata(scale)
    guard metadata.name.isEmpty || metadata.name == context.info.name else {
      throw .badRequest(
        "the name of the object (\(metadata.name)) does not match the name on the URL (\(context.info.name))")
    }
    let replicas = scale[object: "spec"]["replicas"]?.integer ?? 0
    guard replicas >= 0 else {
      throw .invalid(
        kind: "Scale", group: "autoscaling", name: context.info.name,
        errors: [
          .init(
            path: "spec.replicas", reason: .invalid, value: .integer(replicas),
            detail: "must be greater than or equal to 0")
        ])
    }
    var object = old
    object.set(.integer(replicas), at: context.resource.custom?.scale?.specReplicas ?? ["spec", "replicas"])
    // The revision that the client saw, so that a stale one conflicts; without one the present is meant.
    if !metadata.resourceVersion.isEmpty {
      object[object: "metadata"]["resourceVersion"] = .string(metadata.resourceVersion)
    }
    if !metadata.uid.isEmpty { object[object: "metadata"]["uid"] = .string(metadata.uid) }
    return object
  }

  private func scaleAnswer(
    _ document: JSONValue, _ context: RequestContext, warnings: [String]
  ) throws(APIStatus) -> HTTPResponse {
    var response = encoded(
      Self.scale(of: document, uidOf: document.object ?? [:], context.resource.custom?.scale),
      context.negotiated.encoding)
    for warning in warnings { response.headers.add("Warning", Self.warningHeader(warning)) }
    return response
  }

  /// `autoscaling/v1` Scale of a document.
  static func scale(
    of document: JSONValue, uidOf object: JSONObject, _ custom: CustomResource.Scale? = nil
  ) -> JSONValue {
    var metadata = JSONObject()
    for key in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
      metadata[key] = object[object: "metadata"][key]
    }
    var spec = JSONObject()
    if let replicas = document.at(custom?.specReplicas ?? ["spec", "replicas"]) { spec["replicas"] = replicas }
    let selector = custom.map { $0.selector.isEmpty ? "" : document.at($0.selector)?.string ?? "" }
    return [
      "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": .object(metadata), "spec": .object(spec),
      "status": [
        "replicas": document.at(custom?.statusReplicas ?? ["status", "replicas"]) ?? 0,
        "selector": .string(selector ?? selectorText(document["spec"]?["selector"])),
      ],
    ]
  }

  /// A LabelSelector in the form of a query.
  static func selectorText(_ selector: JSONValue?) -> String {
    var parts = (selector?["matchLabels"]?.stringMap ?? [:]).sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
    for expression in selector?["matchExpressions"]?.array ?? [] {
      let key = expression.text("key")
      let values = (expression["values"]?.array ?? []).compactMap(\.string).sorted().joined(separator: ",")
      switch expression.text("operator") {
      case "In": parts.append("\(key) in (\(values))")
      case "NotIn": parts.append("\(key) notin (\(values))")
      case "Exists": parts.append(key)
      case "DoesNotExist": parts.append("!\(key)")
      default: continue
      }
    }
    return parts.joined(separator: ",")
  }
}
