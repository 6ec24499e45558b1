import KubeModel
import Testing

@testable import Controllers

@Suite struct BudgetTests {
  struct Case: Sendable {
    var most: IntOrString?
    var least: IntOrString?
    let healthy: Int
    let wanted: Int?
    let desired: Int32
    let allowed: Int32
  }

  @Test(arguments: [
    Case(least: .int(2), healthy: 3, wanted: nil, desired: 2, allowed: 1),
    Case(least: .int(3), healthy: 3, wanted: nil, desired: 3, allowed: 0),
    Case(least: .string("50%"), healthy: 3, wanted: 5, desired: 3, allowed: 0),
    Case(least: .string("50%"), healthy: 4, wanted: 5, desired: 3, allowed: 1),
    Case(most: .int(1), healthy: 3, wanted: 3, desired: 2, allowed: 1),
    Case(most: .string("34%"), healthy: 3, wanted: 3, desired: 1, allowed: 2),
    Case(most: .int(1), healthy: 2, wanted: 3, desired: 2, allowed: 0),
    Case(most: .int(1), healthy: 3, wanted: nil, desired: 0, allowed: 0),
  ])
  func aBudgetAllowsWhatItsNumbersSay(_ item: Case) {
    var budget = PodDisruptionBudget()
    (budget.spec.maxUnavailable, budget.spec.minAvailable) = (item.most, item.least)
    let pods = (0..<item.healthy).map { Make.pod("p\($0)") } + [Make.pod("sick", readySince: nil)]
    let plan = DisruptionPlan(for: budget, pods: pods, wanted: item.wanted, now: time(100))
    #expect(plan.status.desiredHealthy == item.desired)
    #expect(plan.status.disruptionsAllowed == item.allowed)
    #expect(plan.status.conditions.first?.status == (item.allowed > 0 ? "True" : "False"))
  }

  @Test func aGrantedEvictionCountsUntilItsPodGoesOrItsTimeIsOver() {
    var budget = PodDisruptionBudget()
    budget.spec.minAvailable = .int(1)
    budget.status.disruptedPods = ["a": time(50), "b": time(-100), "gone": time(90)]
    let plan = DisruptionPlan(for: budget, pods: [Make.pod("a"), Make.pod("b")], wanted: 2, now: time(100))
    #expect(plan.status.disruptedPods == ["a": time(50)])
    #expect(plan.status.currentHealthy == 1)
    #expect(plan.status.disruptionsAllowed == 0)
    #expect(plan.againAfterSeconds == 70)
  }

  // MARK: quotas

  @Test func podsUseWhatTheirContainersAskFor() {
    var pod = Make.pod("a")
    var container = Container()
    container.resources.requests = ["cpu": Quantity("500m") ?? Quantity(), "memory": Quantity("1Gi") ?? Quantity()]
    container.resources.limits = ["cpu": Quantity("2") ?? Quantity()]
    pod.spec.containers = [container, container]
    let used = QuotaUsage.of(pod)
    #expect(used["requests.cpu"] == 1000)
    #expect(used["cpu"] == 1000)
    #expect(used["limits.cpu"] == 4000)
    #expect(used["requests.memory"] == Int64(2_147_483_648_000))
    #expect(used["pods"] == 1000)
    pod.status.phase = "Succeeded"
    #expect(QuotaUsage.of(pod) == ["count/pods": 1000])
  }

  @Test(arguments: [
    ("1500m", 1_500_000, "1500"), ("4", 1500, "1500m"), ("10Gi", 3_221_225_472_000, "3Gi"), ("10Gi", 0, "0"),
    ("10Gi", 1_500_000, "1500"), ("10Gi", 1_536_000, "1536"), ("10Gi", 1_024_000, "1Ki"),
  ])
  func amountsAreWrittenLikeTheirLimits(_ hard: String, _ milli: Int64, _ text: String) {
    #expect(QuotaUsage.quantity(milli: milli, like: Quantity(hard) ?? Quantity()).text == text)
  }

  @Test func scopesTakeInSomePodsOnly() {
    var quota = ResourceQuota()
    quota.spec.scopes = ["BestEffort", "NotTerminating"]
    var pod = Make.pod("a")
    #expect(QuotaUsage.covers(quota, pod))
    pod.spec.activeDeadlineSeconds = 5
    #expect(!QuotaUsage.covers(quota, pod))
    var classes = ScopedResourceSelectorRequirement()
    (classes.scopeName, classes.operator, classes.values) = ("PriorityClass", "In", ["high"])
    var selector = ScopeSelector()
    selector.matchExpressions = [classes]
    quota.spec.scopes = []
    quota.spec.scopeSelector = selector
    #expect(!QuotaUsage.covers(quota, pod))
    pod.spec.priorityClassName = "high"
    #expect(QuotaUsage.covers(quota, pod))
  }

  // MARK: autoscalers

  private func autoscaler(_ least: Int32 = 1, _ most: Int32 = 10, percent: Int32 = 50) -> HorizontalPodAutoscaler {
    var autoscaler = HorizontalPodAutoscaler()
    (autoscaler.spec.minReplicas, autoscaler.spec.maxReplicas) = (least, most)
    var source = ResourceMetricSource()
    (source.name, source.target.type, source.target.averageUtilization) = ("cpu", "Utilization", percent)
    var metric = MetricSpec()
    (metric.type, metric.resource) = ("Resource", source)
    autoscaler.spec.metrics = [metric]
    return autoscaler
  }

  private func proposal(_ uses: [Int64], asking: String? = "100m", unready: Int = 0, percent: Int32 = 50) throws -> Int
  {
    var pods = uses.indices.map { Make.pod("p\($0)") } + (0..<unready).map { Make.pod("u\($0)", readySince: nil) }
    for place in pods.indices {
      var container = Container()
      container.name = "c"
      if let asking { container.resources.requests["cpu"] = Quantity(asking) }
      pods[place].spec.containers = [container]
    }
    var measured: AutoscalerMetrics.Uses = [:]
    for (place, use) in uses.enumerated() { measured["p\(place)"] = ["c": .init(milliCPU: use, memoryBytes: 1)] }
    return try AutoscalerMetrics.proposal(
      autoscaler(percent: percent).spec.metrics[0], pods: pods, uses: measured, current: pods.count,
      tolerance: (0.1, 0.1)
    ).replicas
  }

  @Test(arguments: [
    ([Int64(100), 100], 4), ([50, 50], 2), ([52, 52], 2), ([10, 10, 10], 1), ([75, 75], 3), ([0, 0], 0),
  ])
  func theMetricsAskForAsManyPodsAsBringTheUseToItsTarget(_ uses: [Int64], _ replicas: Int) throws {
    #expect(try proposal(uses) == replicas)
  }

  @Test func podsThatAreNotReadyHoldGrowthBackAndAMissingRequestIsTold() throws {
    #expect(try proposal([100, 100], unready: 2) == 4)
    #expect(throws: AutoscalerMetrics.Problem.self) { try proposal([100], asking: nil) }
    #expect(throws: AutoscalerMetrics.Problem.self) { try proposal([]) }
  }

  @Test func sizesGrowByTheirPolicyAndShrinkLate() {
    var memory = AutoscalerPlan.Memory()
    func plan(_ current: Int, _ advised: Int, _ second: Int64) -> AutoscalerPlan {
      AutoscalerPlan(for: autoscaler(), current: current, advised: advised, memory: &memory, now: time(second))
    }
    let up = plan(1, 9, 100)
    #expect(up.replicas == 5)
    #expect(up.limited.reason == "ScaleUpLimit")
    #expect(plan(5, 50, 130).replicas == 10)
    let down = plan(10, 2, 145)
    #expect(down.replicas == 10)
    #expect(down.able.reason == "ScaleDownStabilized")
    #expect(plan(10, 2, 460).replicas == 2)
    #expect(plan(2, 0, 900).replicas == 1)
  }
}
