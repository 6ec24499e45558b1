import JSON
import KubeModel
import KubeValidation
import ObjectStore

extension APIServer {
  /// Namespaces that cannot be deleted.
  static let immortalNamespaces: Set<String> = ["default", "kube-system", "kube-public"]

  /// That an object's namespace is there and stays.
  /// - Throws: `NotFound` and `Forbidden` in Kubernetes' words.
  func checkNamespace(_ context: RequestContext, _ name: String) throws(APIStatus) {
    guard context.resource.type.isNamespaced else { return }
    let namespace = context.namespace
    guard let stored = store.get("/namespaces/\(namespace)") else {
      throw .notFound(QualifiedResource(group: "", resource: "namespaces"), namespace)
    }
    let view = index.view(stored, namespaceStrategy)
    if view.fields["status.phase"] == "Terminating" {
      throw .namespaceTerminating(context.resource.qualified, name, namespace: namespace)
    }
  }

  private var namespaceStrategy: Strategy { .of(group: "", resource: "namespaces") }

  /// What creation adds to an object of each kind, after the defaults of the table.
  func prepareForCreation(_ object: inout JSONObject, _ context: RequestContext) throws(APIStatus) {
    try prepareAccess(&object, old: nil, context)
    switch (context.resource.type.group, context.resource.type.plural) {
    case ("", "namespaces"): Self.prepareNamespace(&object)
    case ("", "pods"): try preparePod(&object, context)
    case ("", "services"):
      object["status"] = ["loadBalancer": [:]]
      Self.prepareService(&object)
    case ("", "nodes"): Self.prepareNode(&object)
    case ("", "secrets"): Self.prepareSecret(&object)
    case ("", "events"): Self.prepareEvent(&object, context)
    case ("batch", "jobs"): Self.prepareJob(&object)
    case ("", "persistentvolumeclaims"): prepareClaim(&object)
    case ("", "persistentvolumes"): Self.prepareVolume(&object)
    case ("networking.k8s.io", "ingresses"): prepareIngress(&object)
    default: if context.resource.hasStatus { object["status"] = object["status"] ?? [:] }
    }
  }

  /// What looks at an object as it will be stored and changes nothing: limits, security levels, quotas. Quotas come last,
  /// since what they let in counts.
  func checkAdmitted(_ object: JSONObject, old: JSONObject?, _ context: RequestContext) throws(APIStatus) {
    // What is going away may go, whatever it is.
    if ObjectMetadata(object).deletionTimestamp != nil { return }
    switch (context.resource.type.group, context.resource.type.plural) {
    case ("", "namespaces"): return try Self.checkSecurityLabels(object)
    case ("scheduling.k8s.io", "priorityclasses"): return try checkPriorityClass(object, context)
    case ("", "pods"): if old == nil { try checkLimits(object, context) }
    case ("", "persistentvolumeclaims"):
      if let old { try checkGrowth(of: object, old: old, context) }
      try checkLimits(object, context)
    default: break
    }
    if old == nil || context.resource.type.plural != "pods" { try checkPodSecurity(object, context) }
    try checkQuotas(object, old: old, context)
  }

  /// What an update changes besides what the client did. Runs after the defaults of the table.
  func admitUpdate(_ object: inout JSONObject, old: JSONObject, _ context: RequestContext) throws(APIStatus) {
    try prepareAccess(&object, old: old, context)
    switch (context.resource.type.group, context.resource.type.plural) {
    case ("", "services"):
      Self.carryAllocations(&object, old: old)
      Self.prepareService(&object)
    case ("", "secrets"): Self.prepareSecret(&object)
    case ("", "namespaces"):
      object[object: "metadata"][object: "labels"]["kubernetes.io/metadata.name"] = .string(ObjectMetadata(old).name)
    case ("", "pods"):
      // What admission gave and a client that writes a manifest again does not know of.
      for key in ["serviceAccountName", "serviceAccount", "priority", "preemptionPolicy", "nodeName", "tolerations"]
      where object[object: "spec"][key] == nil {
        object[object: "spec"][key] = old[object: "spec"][key]
      }
    default: break
    }
  }

  private static func prepareNamespace(_ object: inout JSONObject) {
    let name = ObjectMetadata(object).name
    object[object: "metadata"][object: "labels"]["kubernetes.io/metadata.name"] = .string(name)
    object[object: "spec"]["finalizers"] = ["kubernetes"]
    object["status"] = ["phase": "Active"]
  }

  private static func prepareService(_ object: inout JSONObject) {
    var spec = object[object: "spec"]
    let type = spec.text("type")
    if type == "NodePort" || type == "LoadBalancer" { spec.setDefault("externalTrafficPolicy", "Cluster") }
    if type == "LoadBalancer", spec["allocateLoadBalancerNodePorts"] == nil {
      spec["allocateLoadBalancerNodePorts"] = true
    }
    if type == "ExternalName" {
      for key in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"] {
        spec[key] = nil
      }
    }
    object["spec"] = .object(spec)
  }

  /// A node runs nothing new until it has said that it is ready; the taint goes with that.
  private static func prepareNode(_ object: inout JSONObject) {
    let taint: JSONValue = ["key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"]
    var taints = object[object: "spec"]["taints"]?.array ?? []
    if !taints.contains(where: { $0["key"] == taint["key"] && $0["effect"] == taint["effect"] }) {
      taints.append(taint)
    }
    object[object: "spec"]["taints"] = .array(taints)
  }

  /// What was written as text is kept as bytes, like the rest.
  private static func prepareSecret(_ object: inout JSONObject) {
    guard let texts = object["stringData"]?.stringMap else { return }
    object["stringData"] = nil
    guard !texts.isEmpty else { return }
    for (key, text) in texts.sorted(by: { $0.key < $1.key }) {
      object[object: "data"][key] = .string(Base64.standard(Array(text.utf8)))
    }
  }

  private static func prepareEvent(_ object: inout JSONObject, _ context: RequestContext) {
    if object["eventTime"] == nil, object["firstTimestamp"] == nil, object["lastTimestamp"] == nil {
      let now = JSONValue.string(ObjectNames.time(context.now))
      object["firstTimestamp"] = now
      object["lastTimestamp"] = now
    }
    if object["count"] == nil, object["eventTime"] == nil { object["count"] = 1 }
  }
}
