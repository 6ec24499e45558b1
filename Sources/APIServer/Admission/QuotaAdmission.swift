import HTTPServer
import JSON
import KubeModel
import ObjectStore

/// ResourceQuotas: https://kubernetes.io/docs/concepts/policy/resource-quotas/
extension APIServer {
  /// That the quotas of a namespace let an object in; then it is counted until it is stored.
  /// - Parameter old: the stored version of an update, which counts already.
  /// - Throws: `Forbidden` in Kubernetes' words.
  func checkQuotas(
    _ object: JSONObject, old: JSONObject?, _ context: RequestContext
  ) throws(APIStatus) {
    guard context.resource.type.isNamespaced, context.resource.type.plural != "events" else { return }
    let namespace = context.namespace
    let stored = store.list(prefix: "/resourcequotas/\(namespace)/").objects
    guard !stored.isEmpty else { return }
    let name = ObjectMetadata(object).name
    let own = context.resource.key(namespace: namespace, name: name)
    let (new, before) = (charged(object, context), old.map { charged($0, context) })
    try quotas.withLock { (state) throws(APIStatus) in
      // What has been stored meanwhile counts by itself.
      var pending = (state.pending[namespace] ?? []).filter { $0.until > context.now && store.get($0.key) == nil }
      var admitted: [String: QuotaUsage.Amounts] = [:]
      for each in stored {
        guard let quota = Self.decoded(each, as: ResourceQuota.self) else { continue }
        var delta = new.amounts(for: quota)
        if let before { delta.merge(before.amounts(for: quota)) { $0 - $1 } }
        delta = delta.filter { quota.spec.hard[$0.key] != nil && $0.value > 0 }
        if before == nil, let pod = new.pod, QuotaUsage.covers(quota, pod) {
          try requireAmounts(quota, pod, context, name)
        }
        guard !delta.isEmpty else { continue }
        var used = usage(of: quota, key: each.key, namespace, &state)
        for entry in pending { used.merge(entry.amounts[each.key] ?? [:]) { $0.addingClamped($1) } }
        try check(quota, delta, used, context, name)
        admitted[each.key] = delta
      }
      let isDryRun = context.query.all("dryRun").contains("All")
      if old == nil, !isDryRun, !admitted.isEmpty, pending.count < QuotaLedger.pendingMax {
        pending.append(
          QuotaLedger.Pending(key: own, amounts: admitted, until: context.now + QuotaLedger.pendingSeconds))
      }
      state.pending[namespace] = pending.isEmpty ? nil : pending
    }
  }

  /// What an object counts for, decoded once for all quotas.
  private struct Charge {
    var pod: Pod?
    var plain: QuotaUsage.Amounts = [:]

    func amounts(for quota: ResourceQuota) -> QuotaUsage.Amounts {
      guard let pod else { return quota.spec.scopes.isEmpty && quota.spec.scopeSelector == nil ? plain : [:] }
      return QuotaUsage.covers(quota, pod) ? QuotaUsage.of(pod) : [:]
    }
  }

  private func charged(_ object: JSONObject, _ context: RequestContext) -> Charge {
    let resource = context.resource
    let document = JSONValue.object(object)
    switch (resource.type.group, resource.type.plural) {
    case ("", "pods"): return Charge(pod: Self.decoded(document, as: Pod.self))
    case ("", "persistentvolumeclaims"):
      return Charge(plain: Self.decoded(document, as: PersistentVolumeClaim.self).map { QuotaUsage.of($0) } ?? [:])
    case ("", "services"):
      return Charge(plain: Self.decoded(document, as: Service.self).map { QuotaUsage.of($0) } ?? [:])
    default:
      return Charge(plain: [resource.type.plural: 1000, "count/\(resource.qualified)": 1000])
    }
  }

  static func decoded<Kind: KubeKind>(_ stored: StoredObject, as kind: Kind.Type) -> Kind? {
    (try? JSONValue.parse(stored.value)).flatMap { decoded($0, as: kind) }
  }

  static func decoded<Kind: KubeKind>(_ document: JSONValue, as kind: Kind.Type) -> Kind? {
    try? Kind(lenient: document)
  }

  /// What the stored objects of the namespace use of a quota.
  private func usage(
    of quota: ResourceQuota, key: String, _ namespace: String, _ state: inout QuotaLedger.State
  ) -> QuotaUsage.Amounts {
    var sum: QuotaUsage.Amounts = [:]
    let names = Set(quota.spec.hard.keys)
    func add(_ amounts: QuotaUsage.Amounts) { sum.merge(amounts) { $0.addingClamped($1) } }
    let isScoped = !quota.spec.scopes.isEmpty || quota.spec.scopeSelector != nil
    for name in names where name.hasPrefix("count/") && !isScoped {
      let count = store.list(prefix: "/\(name.dropFirst("count/".count))/\(namespace)/").objects.count
      sum[name] = Int64(count) * 1000
    }
    for name in ["configmaps", "secrets", "replicationcontrollers", "resourcequotas"] where names.contains(name) {
      sum[name] = Int64(store.list(prefix: "/\(name)/\(namespace)/").objects.count) * 1000
    }
    for (amounts, prefix) in [(true, "persistentvolumeclaims"), (false, "services")] {
      guard !isScoped, names.contains(where: { $0.contains(amounts ? "storage" : "services") || $0 == prefix }) else {
        continue
      }
      for object in store.list(prefix: "/\(prefix)/\(namespace)/").objects {
        let counted =
          amounts
          ? Self.decoded(object, as: PersistentVolumeClaim.self).map { QuotaUsage.of($0) }
          : Self.decoded(object, as: Service.self).map { QuotaUsage.of($0) }
        add((counted ?? [:]).filter { names.contains($0.key) && !$0.key.hasPrefix("count/") })
      }
    }
    add(podUsage(of: quota, key: key, namespace, names, &state))
    return sum
  }

  private static let podResources: Set<String> = ["pods", "cpu", "memory", "ephemeral-storage"]

  private func podUsage(
    of quota: ResourceQuota, key: String, _ namespace: String, _ names: Set<String>, _ state: inout QuotaLedger.State
  ) -> QuotaUsage.Amounts {
    let counted = names.filter {
      Self.podResources.contains($0) || $0.hasPrefix("requests.") || $0.hasPrefix("limits.")
    }
    guard !counted.isEmpty else { return [:] }
    // Another spec counts other pods and other amounts.
    let cacheKey = "\(key) \(quota.metadata.uid ?? "") \(quota.spec.json.encodedString())"
    let known = state.pods[cacheKey] ?? [:]
    if state.pods[cacheKey] == nil { state.pods = state.pods.filter { !$0.key.hasPrefix("\(key) ") } }
    var kept: [String: (revision: Int64, amounts: QuotaUsage.Amounts)] = [:]
    var sum: QuotaUsage.Amounts = [:]
    for object in store.list(prefix: "/pods/\(namespace)/").objects {
      var entry = known[object.key]
      if entry?.revision != object.revision {
        let pod = Self.decoded(object, as: Pod.self)
        let amounts = pod.map { QuotaUsage.covers(quota, $0) ? QuotaUsage.of($0) : [:] } ?? [:]
        entry = (object.revision, amounts.filter { counted.contains($0.key) })
      }
      kept[object.key] = entry
      sum.merge(entry?.amounts ?? [:]) { $0.addingClamped($1) }
    }
    state.pods[cacheKey] = kept
    return sum
  }

  private func check(
    _ quota: ResourceQuota, _ delta: QuotaUsage.Amounts, _ used: QuotaUsage.Amounts, _ context: RequestContext,
    _ name: String
  ) throws(APIStatus) {
    var exceeded: [String] = []
    for (resource, amount) in delta.sorted(by: { $0.key < $1.key }) {
      guard let hard = quota.spec.hard[resource] else { continue }
      if (used[resource] ?? 0).addingClamped(amount) > hard.milliValue { exceeded.append(resource) }
    }
    guard !exceeded.isEmpty else { return }
    func listed(_ amount: (String) -> Quantity) -> String {
      exceeded.map { "\($0)=\(amount($0).text)" }.joined(separator: ",")
    }
    func quantity(_ milli: Int64, _ resource: String) -> Quantity {
      QuotaUsage.quantity(milli: milli, like: quota.spec.hard[resource] ?? Quantity())
    }
    let requested = listed { quantity(delta[$0] ?? 0, $0) }
    let taken = listed { quantity(used[$0] ?? 0, $0) }
    let limited = listed { quota.spec.hard[$0] ?? Quantity() }
    throw .forbidden(
      context.resource.qualified, name,
      "exceeded quota: \(quota.metadata.name ?? ""), requested: \(requested), used: \(taken), limited: \(limited)")
  }

  /// Who limits the CPU of a namespace must know how much each container of it takes.
  private func requireAmounts(
    _ quota: ResourceQuota, _ pod: Pod, _ context: RequestContext, _ name: String
  ) throws(APIStatus) {
    var missing: [String: Set<String>] = [:]
    for container in pod.spec.containers + pod.spec.initContainers {
      for hard in quota.spec.hard.keys {
        let isThere: Bool
        switch hard {
        case "cpu", "memory": isThere = container.resources.requests[hard] != nil
        case "requests.cpu", "requests.memory":
          isThere = container.resources.requests[String(hard.dropFirst("requests.".count))] != nil
        case "limits.cpu", "limits.memory":
          isThere = container.resources.limits[String(hard.dropFirst("limits.".count))] != nil
        default: continue
        }
        if !isThere { missing[hard, default: []].insert(container.name) }
      }
    }
    guard !missing.isEmpty else { return }
    let text = missing.sorted { $0.key < $1.key }.map { "\($0.key) for: \($0.value.sorted().joined(separator: ","))" }
    throw .forbidden(
      context.resource.qualified, name,
      "failed quota: \(quota.metadata.name ?? ""): must specify \(text.joined(separator: "; "))")
  }
}
