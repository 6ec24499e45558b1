import JSON
import KubeModel

/// Where a pod may run: affinity, tolerations, spread.
extension FieldErrors {
  private static let taintEffects = ["NoSchedule", "PreferNoSchedule", "NoExecute"]

  mutating func tolerations(_ tolerations: [Toleration], _ path: FieldPath) {
    for (index, toleration) in tolerations.enumerated() {
      let at = path[index]
      let (key, value) = (toleration.key ?? "", toleration.value ?? "")
      let operation = toleration.operator ?? ""
      if !key.isEmpty { qualifiedName(at["key"], key) }
      if key.isEmpty, operation != "Exists" {
        invalid(
          at["operator"], operation,
          "operator must be Exists when `key` is empty, which means \"match all values and all keys\"")
      }
      if toleration.tolerationSeconds != nil, toleration.effect != "NoExecute" {
        invalid(
          at["effect"], toleration.effect ?? "", "effect must be 'NoExecute' when `tolerationSeconds` is set")
      }
      switch operation {
      case "Equal", "":
        let messages = NameRules.labelValue(value)
        if !messages.isEmpty { invalid(at["operator"], value, messages.joined(separator: ";")) }
      case "Exists":
        if !value.isEmpty { invalid(at["operator"], value, "value must be empty when `operator` is 'Exists'") }
      case "Gt", "Lt":
        if Int64(value) == nil {
          invalid(at["operator"], value, "value must be an integer when `operator` is '\(operation)'")
        }
      default: notSupported(at["operator"], operation, ["Equal", "Exists", "Lt", "Gt"])
      }
      choice(at["effect"], toleration.effect, of: Self.taintEffects)
    }
  }

  mutating func taints(_ taints: [Taint], _ path: FieldPath) {
    var seen: Set<[String]> = []
    for (index, taint) in taints.enumerated() {
      let at = path[index]
      qualifiedName(at["key"], taint.key)
      let messages = NameRules.labelValue(taint.value ?? "")
      if !messages.isEmpty { invalid(at["value"], taint.value ?? "", messages.joined(separator: ";")) }
      if taint.effect.isEmpty { required(at["effect"]) }
      choice(at["effect"], taint.effect, of: Self.taintEffects)
      if !seen.insert([taint.effect, taint.key]).inserted {
        duplicate(at, taint.json, "taints must be unique by key and effect pair")
      }
    }
  }

  mutating func affinity(_ affinity: Affinity?, _ path: FieldPath) {
    let required = "requiredDuringSchedulingIgnoredDuringExecution"
    let preferred = "preferredDuringSchedulingIgnoredDuringExecution"
    if let node = affinity?.nodeAffinity {
      let at = path["nodeAffinity"]
      if let selector = node.requiredDuringSchedulingIgnoredDuringExecution { nodeSelector(selector, at[required]) }
      for (index, term) in node.preferredDuringSchedulingIgnoredDuringExecution.enumerated() {
        weight(term.weight, at[preferred][index])
        nodeSelectorTerm(term.preference, checkingValues: false, at[preferred][index]["preference"])
      }
    }
    func pods(
      _ terms: [PodAffinityTerm], _ weighted: [WeightedPodAffinityTerm], _ at: FieldPath, _ errors: inout FieldErrors
    ) {
      for (index, term) in terms.enumerated() { errors.podAffinityTerm(term, at[required][index]) }
      for (index, term) in weighted.enumerated() {
        errors.weight(term.weight, at[preferred][index])
        errors.podAffinityTerm(term.podAffinityTerm, at[preferred][index]["podAffinityTerm"])
      }
    }
    if let pod = affinity?.podAffinity {
      pods(
        pod.requiredDuringSchedulingIgnoredDuringExecution, pod.preferredDuringSchedulingIgnoredDuringExecution,
        path["podAffinity"], &self)
    }
    if let pod = affinity?.podAntiAffinity {
      pods(
        pod.requiredDuringSchedulingIgnoredDuringExecution, pod.preferredDuringSchedulingIgnoredDuringExecution,
        path["podAntiAffinity"], &self)
    }
  }

  private mutating func weight(_ weight: Int32, _ path: FieldPath) {
    if !(1...100).contains(weight) { invalid(path["weight"], weight, "must be in the range 1-100") }
  }

  private mutating func nodeSelector(_ selector: NodeSelector, _ path: FieldPath) {
    let at = path["nodeSelectorTerms"]
    if selector.nodeSelectorTerms.isEmpty { required(at, "must have at least one node selector term") }
    for (index, term) in selector.nodeSelectorTerms.enumerated() {
      nodeSelectorTerm(term, checkingValues: true, at[index])
    }
  }

  private mutating func nodeSelectorTerm(_ term: NodeSelectorTerm, checkingValues: Bool, _ path: FieldPath) {
    for (index, requirement) in term.matchExpressions.enumerated() {
      let at = path["matchExpressions"][index]
      switch requirement.operator {
      case "Gt", "Lt":
        if requirement.values.count != 1 {
          required(at["values"], "must be specified single value when `operator` is 'Lt' or 'Gt'")
        }
      default: selectorValues(requirement.operator, requirement.values, at)
      }
      qualifiedName(at["key"], requirement.key)
      guard checkingValues else { continue }
      for (number, value) in requirement.values.enumerated() {
        invalid(at["values"][number], value, NameRules.labelValue(value))
      }
    }
    for (index, requirement) in term.matchFields.enumerated() {
      let at = path["matchFields"][index]
      switch requirement.operator {
      case "In", "NotIn":
        if requirement.values.count != 1 {
          required(at["values"], "must be only one value when `operator` is 'In' or 'NotIn' for node field selector")
        }
      default: invalid(at["operator"], requirement.operator, "not a valid selector operator")
      }
      if requirement.key == "metadata.name" {
        for (number, value) in requirement.values.enumerated() { dnsSubdomain(at["values"][number], value) }
      } else {
        invalid(at["key"], requirement.key, "not a valid field selector key")
      }
    }
  }

  private mutating func podAffinityTerm(_ term: PodAffinityTerm, _ path: FieldPath) {
    labelSelector(term.labelSelector, path["labelSelector"])
    labelSelector(term.namespaceSelector, path["namespaceSelector"])
    for name in term.namespaces { dnsLabel(path["namespace"], name) }
    for (field, keys) in [("matchLabelKeys", term.matchLabelKeys), ("mismatchLabelKeys", term.mismatchLabelKeys)] {
      if !keys.isEmpty, term.labelSelector == nil {
        forbidden(path[field], "must not be specified when labelSelector is not set")
      } else {
        for (index, key) in keys.enumerated() { qualifiedName(path[field][index], key) }
      }
    }
    for (index, key) in term.matchLabelKeys.enumerated() where term.mismatchLabelKeys.contains(key) {
      invalid(path["matchLabelKeys"][index], key, "exists in both matchLabelKeys and mismatchLabelKeys")
    }
    if term.topologyKey.isEmpty { required(path["topologyKey"], "can not be empty") }
    qualifiedName(path["topologyKey"], term.topologyKey)
  }

  mutating func spread(_ constraints: [TopologySpreadConstraint], _ path: FieldPath) {
    for (index, constraint) in constraints.enumerated() {
      let at = path[index]
      if constraint.maxSkew <= 0 { invalid(at["maxSkew"], constraint.maxSkew, "must be greater than zero") }
      if constraint.topologyKey.isEmpty { required(at["topologyKey"], "can not be empty") }
      let actions = ["DoNotSchedule", "ScheduleAnyway"]
      if !actions.contains(constraint.whenUnsatisfiable) {
        notSupported(at["whenUnsatisfiable"], constraint.whenUnsatisfiable, actions)
      }
      let isRepeated = constraints[(index + 1)...].contains {
        $0.topologyKey == constraint.topologyKey && $0.whenUnsatisfiable == constraint.whenUnsatisfiable
      }
      if isRepeated {
        duplicate(
          at["{topologyKey, whenUnsatisfiable}"], "{\(constraint.topologyKey), \(constraint.whenUnsatisfiable)}")
      }
      if let domains = constraint.minDomains {
        if domains <= 0 { invalid(at["minDomains"], domains, "must be greater than zero") }
        if constraint.whenUnsatisfiable != "DoNotSchedule" {
          invalid(
            at["minDomains"], domains,
            "can only use minDomains if whenUnsatisfiable=DoNotSchedule, not \(constraint.whenUnsatisfiable)")
        }
      }
      choice(at["nodeAffinityPolicy"], constraint.nodeAffinityPolicy, of: ["Honor", "Ignore"])
      choice(at["nodeTaintsPolicy"], constraint.nodeTaintsPolicy, of: ["Honor", "Ignore"])
      let selected = (constraint.labelSelector?.matchLabels.keys).map(Set.init) ?? []
      if !constraint.matchLabelKeys.isEmpty, constraint.labelSelector == nil {
        forbidden(at["matchLabelKeys"], "must not be specified when labelSelector is not set")
      }
      for (number, key) in constraint.matchLabelKeys.enumerated() {
        qualifiedName(at["matchLabelKeys"][number], key)
        if selected.contains(key) {
          invalid(at["matchLabelKeys"][number], key, "exists in both matchLabelKeys and labelSelector")
        }
      }
      labelSelector(constraint.labelSelector, at["labelSelector"])
    }
  }
}
