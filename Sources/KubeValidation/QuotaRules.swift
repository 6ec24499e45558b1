import JSON
import KubeModel

/// Quotas and limits of namespaces: https://kubernetes.io/docs/concepts/policy/
extension FieldErrors {
  private static let quotaResources: Set<String> = [
    "cpu", "memory", "ephemeral-storage", "requests.cpu", "requests.memory", "requests.storage",
    "requests.ephemeral-storage", "limits.cpu", "limits.memory", "limits.ephemeral-storage", "pods", "resourcequotas",
    "services", "replicationcontrollers", "secrets", "persistentvolumeclaims", "configmaps", "services.nodeports",
    "services.loadbalancers",
  ]
  private static let scopes = [
    "BestEffort", "CrossNamespacePodAffinity", "NotBestEffort", "NotTerminating", "PriorityClass", "Terminating",
    "VolumeAttributesClass",
  ]

  mutating func resourceQuota(_ quota: ResourceQuota) {
    metadata(quota.metadata, .bySubdomain)
    let path = FieldPath("spec")
    quotaAmounts(quota.spec.hard, path["hard"])
    for (index, scope) in quota.spec.scopes.enumerated() {
      if !Self.scopes.contains(scope) { notSupported(path["scopes"][index], scope, Self.scopes) }
    }
    let found = Set(quota.spec.scopes)
    if found.isSuperset(of: ["BestEffort", "NotBestEffort"]) || found.isSuperset(of: ["Terminating", "NotTerminating"])
    {
      invalid(path["scopes"], JSONValue(quota.spec.scopes), "conflicting scopes")
    }
    for (index, requirement) in (quota.spec.scopeSelector?.matchExpressions ?? []).enumerated() {
      let at = path["scopeSelector"]["matchExpressions"][index]
      if !Self.scopes.contains(requirement.scopeName) {
        notSupported(at["scopeName"], requirement.scopeName, Self.scopes)
      }
      if requirement.scopeName != "PriorityClass", requirement.scopeName != "VolumeAttributesClass",
        requirement.operator != "Exists"
      {
        invalid(
          at["operator"], requirement.operator,
          "must be 'Exist' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity"
        )
      }
      switch requirement.operator {
      case "In", "NotIn":
        if requirement.values.isEmpty {
          required(at["values"], "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector")
        }
      case "Exists", "DoesNotExist":
        if !requirement.values.isEmpty {
          invalid(
            at["values"], JSONValue(requirement.values),
            "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector")
        }
      default: invalid(at["operator"], requirement.operator, "not a valid selector operator")
      }
    }
  }

  private mutating func quotaAmounts(_ amounts: [String: Quantity], _ path: FieldPath) {
    for (name, amount) in amounts.sorted(by: { $0.key < $1.key }) {
      let at = path.key(name)
      let messages = NameRules.qualifiedName(name)
      invalid(at, name, messages)
      if messages.isEmpty, !name.contains("/"), !Self.quotaResources.contains(name),
        !name.hasPrefix("hugepages-"), !name.hasPrefix("requests.hugepages-")
      {
        invalid(at, name, "must be a standard resource for quota")
      }
      if amount.milliValue < 0 { invalid(at, amount.text, "must be greater than or equal to 0") }
      let isCount = name.hasPrefix("count/") || !name.contains("cpu") && Self.wholeResources.contains(name)
      if isCount, amount.milliValue % 1000 != 0 { invalid(at, amount.text, "must be an integer") }
    }
  }

  private static let wholeResources: Set<String> = [
    "pods", "resourcequotas", "services", "replicationcontrollers", "secrets", "persistentvolumeclaims", "configmaps",
    "services.nodeports", "services.loadbalancers",
  ]

  mutating func updateResourceQuota(_ new: ResourceQuota, _ old: ResourceQuota) {
    metadataUpdate(new.metadata, old.metadata)
    resourceQuota(new)
    if Set(new.spec.scopes) != Set(old.spec.scopes) {
      invalid(FieldPath("spec")["scopes"], JSONValue(new.spec.scopes), "field is immutable")
    }
  }

  mutating func updateResourceQuotaStatus(_ new: ResourceQuota, _ old: ResourceQuota) {
    metadataUpdate(new.metadata, old.metadata)
    quotaAmounts(new.status.hard, FieldPath("status")["hard"])
    quotaAmounts(new.status.used, FieldPath("status")["used"])
  }

  // MARK: limit ranges

  mutating func limitRange(_ range: LimitRange) {
    metadata(range.metadata, .bySubdomain)
    var types: Set<String> = []
    for (index, item) in range.spec.limits.enumerated() {
      let path = FieldPath("spec")["limits"][index]
      if item.type.isEmpty {
        required(path["type"])
      } else if !["Container", "Pod", "PersistentVolumeClaim"].contains(item.type), !item.type.contains("/") {
        invalid(path["type"], item.type, "must be a standard limit type or fully qualified")
      }
      if !types.insert(item.type).inserted { duplicate(path["type"], item.type) }
      limitItem(item, path)
    }
  }

  private mutating func limitItem(_ item: LimitRangeItem, _ path: FieldPath) {
    if item.type == "Pod" {
      if !item.default.isEmpty { forbidden(path["default"], "may not be specified when `type` is 'Pod'") }
      if !item.defaultRequest.isEmpty { forbidden(path["defaultRequest"], "may not be specified when `type` is 'Pod'") }
    }
    if item.type == "PersistentVolumeClaim", item.min["storage"] == nil, item.max["storage"] == nil {
      required(path, "either minimum or maximum storage value is required, but neither was provided")
    }
    let lists = [
      ("max", item.max), ("min", item.min), ("default", item.default), ("defaultRequest", item.defaultRequest),
      ("maxLimitRequestRatio", item.maxLimitRequestRatio),
    ]
    var names: Set<String> = []
    for (field, amounts) in lists {
      for (name, amount) in amounts.sorted(by: { $0.key < $1.key }) {
        names.insert(name)
        invalid(path[field].key(name), name, NameRules.qualifiedName(name))
        if amount.milliValue < 0 { invalid(path[field].key(name), amount.text, "must be greater than or equal to 0") }
      }
    }
    for name in names.sorted() { limitOrder(item, name, path) }
  }

  private mutating func limitOrder(_ item: LimitRangeItem, _ name: String, _ path: FieldPath) {
    func ordered(
      _ low: (String, String, Quantity?), _ high: (String, Quantity?), _ errors: inout FieldErrors
    ) {
      guard let less = low.2, let more = high.1, less.isGreater(than: more) else { return }
      errors.invalid(
        path[low.0].key(name), less.text,
        "\(low.1) value \(less.text) is greater than \(high.0) value \(more.text)")
    }
    let (least, most) = (item.min[name], item.max[name])
    let (usual, request) = (item.default[name], item.defaultRequest[name])
    ordered(("min", "min", least), ("max", most), &self)
    ordered(("defaultRequest", "min", least), ("default request", request), &self)
    ordered(("defaultRequest", "default request", request), ("max", most), &self)
    ordered(("defaultRequest", "default request", request), ("default limit", usual), &self)
    ordered(("default", "min", least), ("default", usual), &self)
    ordered(("default", "default", usual), ("max", most), &self)
    guard let ratio = item.maxLimitRequestRatio[name] else { return }
    if ratio.milliValue < 1000 {
      invalid(path["maxLimitRequestRatio"].key(name), ratio.text, "ratio \(ratio.text) is less than 1")
    }
  }

  mutating func updateLimitRange(_ new: LimitRange, _ old: LimitRange) {
    metadataUpdate(new.metadata, old.metadata)
    limitRange(new)
  }
}
