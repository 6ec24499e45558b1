import KubeModel
import NodeAgent
import Testing

@Suite struct EvictionTests {
  private static let gibibyte: Int64 = 1 << 30

  private static func pod(
    _ uid: String, _ bytes: Int64, request: Int64 = 0, priority: Int32 = 0, isCritical: Bool = false
  ) -> PodUsage {
    var pod = PodUsage(uid: uid)
    pod.memory = [.init(name: "c", bytes: bytes, request: request)]
    pod.storage = [.init(name: "c", bytes: bytes, request: request)]
    pod.processes = bytes
    (pod.priority, pod.isCritical) = (priority, isCritical)
    return pod
  }

  private static func short(_ signal: PressureSignal = .memory, _ available: Int64 = 50 << 20)
    -> [PressureSignal: SignalReading]
  {
    [signal: SignalReading(available: available, capacity: 16 * gibibyte)]
  }

  // MARK: settings

  @Test func settingsReadAsAKubeletsFlags() throws {
    var settings = try EvictionSettings(
      hard: "memory.available<100Mi, nodefs.available<10%", soft: "memory.available<1Gi",
      softGrace: "memory.available=1m30s", reclaim: "nodefs.available=500Mi")
    #expect(settings.thresholds.map(\.signal) == [.memory, .nodeBytes, .memory])
    #expect(settings.thresholds.map(\.grace) == [nil, nil, 90_000])
    #expect(settings.thresholds[1].amount == .share(10_000))
    #expect(settings.thresholds[1].reclaim == .quantity(try #require(Quantity("500Mi"))))
    settings = EvictionSettings.usual
    #expect(Set(settings.thresholds.map(\.signal)) == Set(PressureSignal.allCases))
    #expect(try EvictionSettings(hard: "").thresholds.isEmpty)
  }

  @Test(arguments: [
    ("memory.available", "", "", "is not of the form SIGNAL<AMOUNT"),
    ("memory.free<1Gi", "", "", "\"memory.free\" is no signal"),
    ("memory.available<1Gi,memory.available<2Gi", "", "", "memory.available stands twice"),
    ("memory.available<ten", "", "", "\"ten\" is no amount"), ("memory.available<101%", "", "", "\"101%\" is no share"),
    ("", "memory.available<1Gi", "", "has no grace period"),
    ("", "memory.available<1Gi", "memory.available=soon", "\"soon\" is no time"),
  ])
  func aWrongSettingIsNamed(_ hard: String, _ soft: String, _ grace: String, _ words: String) {
    #expect {
      _ = try EvictionSettings(hard: hard, soft: soft, softGrace: grace)
    } throws: {
      "\($0)".contains(words)
    }
  }

  @Test(
    arguments: [
      ("0", 0), ("5m", 300_000), ("1m30s", 90_000), ("250ms", 250), ("1h", 3_600_000), ("", nil), ("5", nil),
      ("5x", nil),
    ] as [(String, Milliseconds?)])
  func timesReadAsGoWritesThem(_ text: String, _ milliseconds: Milliseconds?) {
    #expect(EvictionSettings.milliseconds(text) == milliseconds)
  }

  // MARK: who goes

  @Test func whoUsesMoreThanItAskedForGoesFirstThenWhoMattersLess() {
    let pods = [
      Self.pod("within", 900, request: 1000), Self.pod("dear", 300, priority: 100), Self.pod("small", 200),
      Self.pod("large", 400, request: 100), Self.pod("system", 9000, isCritical: true),
    ]
    #expect(EvictionPlan.ranked(pods, by: .memory).map(\.uid) == ["large", "small", "dear", "within"])
    #expect(EvictionPlan.ranked(pods, by: .nodeBytes).map(\.uid) == ["large", "small", "dear", "within"])
    // Nobody asks for processes: only who matters less and who has most.
    #expect(EvictionPlan.ranked(pods, by: .processes).map(\.uid) == ["within", "large", "small", "dear"])
  }

  @Test func theReasonIsToldInAKubeletsWords() throws {
    var plan = EvictionPlan(try EvictionSettings(hard: "memory.available<100Mi"))
    let pods = [Self.pod("a", 2 << 20, request: 1 << 20)]
    let actions = plan.step(Self.short(), pods: pods, now: 0, hasCollected: false)
    #expect(
      actions == [
        .evict(
          uid: "a",
          message: "The node was low on resource: memory. Threshold quantity: 100Mi, available: 51200Ki. "
            + "Container c was using 2048Ki, request is 1024Ki, has larger consumption of memory. ",
          graceSeconds: 1)
      ])
    #expect(plan.pressures == [.memory])
  }

  @Test func whatNobodyUsesGoesBeforeAPodForDiskAlone() throws {
    var plan = EvictionPlan(try EvictionSettings(hard: "nodefs.available<10%,pid.available<100"))
    let pods = [Self.pod("a", 5000)]
    #expect(
      plan.step(Self.short(.nodeBytes), pods: pods, now: 0, hasCollected: false) == [.collectGarbage(.nodeBytes)])
    let after = plan.step(Self.short(.nodeBytes), pods: pods, now: 1, hasCollected: true)
    guard case .evict("a", let message, 1)? = after.first else {
      Issue.record("\(after)")
      return
    }
    #expect(message.hasPrefix("The node was low on resource: ephemeral-storage. Threshold quantity: 1677721Ki, "))
    #expect(plan.pressures == [.disk])
    let enough = Self.short(.nodeBytes, 8 * Self.gibibyte)
    #expect(plan.step(enough, pods: pods, now: 2, hasCollected: false).isEmpty)
    let processes = plan.step(Self.short(.processes, 50), pods: pods, now: 3, hasCollected: false)
    guard case .evict("a", _, _)? = processes.first else {
      Issue.record("\(processes)")
      return
    }
    #expect(plan.pressures == [.disk, .processes])
  }

  @Test func aSoftThresholdWaitsAndLeavesTime() throws {
    var settings = try EvictionSettings(hard: "", soft: "memory.available<1Gi", softGrace: "memory.available=30s")
    (settings.graceSecondsMax, settings.transition) = (10, 60_000)
    var plan = EvictionPlan(settings)
    let pods = [Self.pod("a", 1000)]
    #expect(plan.step(Self.short(), pods: pods, now: 0, hasCollected: false).isEmpty)
    #expect(plan.pressures == [.memory])
    #expect(plan.step(Self.short(), pods: pods, now: 29_999, hasCollected: false).isEmpty)
    // Enough for a moment: the wait begins anew, the pressure stands.
    let enough = Self.short(.memory, 2 * Self.gibibyte)
    #expect(plan.step(enough, pods: pods, now: 30_000, hasCollected: false).isEmpty)
    #expect(plan.pressures == [.memory])
    #expect(plan.step(Self.short(), pods: pods, now: 31_000, hasCollected: false).isEmpty)
    guard case .evict("a", _, 10)? = plan.step(Self.short(), pods: pods, now: 61_000, hasCollected: false).first else {
      Issue.record("not evicted after its time")
      return
    }
    #expect(plan.step(enough, pods: pods, now: 62_000, hasCollected: false).isEmpty)
    #expect(plan.pressures == [.memory])
    #expect(plan.step(enough, pods: pods, now: 121_000, hasCollected: false).isEmpty)
    #expect(plan.pressures.isEmpty)
  }

  @Test func aNeedIsOverOnlyWhenEnoughIsThereAgain() throws {
    var settings = try EvictionSettings(hard: "memory.available<100Mi", reclaim: "memory.available=500Mi")
    settings.transition = 0
    var plan = EvictionPlan(settings)
    func step(_ mebibytes: Int64) -> Bool {
      plan.step(Self.short(.memory, mebibytes << 20), pods: [Self.pod("a", 1)], now: 0, hasCollected: false).isEmpty
    }
    #expect(step(101))
    #expect(!step(99))
    #expect(!step(599))
    #expect(step(600))
    #expect(step(101))
  }

  // MARK: any node

  /// Readings and pods that come, end, and grow as they like.
  @Test(arguments: 0..<200)
  func neverTwoAtATimeNeverACriticalOneAndNeverWithoutNeed(_ seed: UInt64) throws {
    var dice = Dice(seed: seed)
    var settings = try EvictionSettings(
      hard: "memory.available<10%,nodefs.available<10%", soft: "memory.available<30%,pid.available<20%",
      softGrace: "memory.available=20s,pid.available=5s")
    settings.transition = 60_000
    var plan = EvictionPlan(settings)
    var pods = (0..<Int.random(in: 1...6, using: &dice)).map { index in
      Self.pod(
        "p\(index)", .random(in: 0...1000, using: &dice), request: .random(in: 0...1000, using: &dice),
        priority: .random(in: 0...2, using: &dice), isCritical: dice.chance(20))
    }
    var available: [PressureSignal: Int64] = [.memory: 50, .nodeBytes: 50, .processes: 50]
    var now: Milliseconds = 0
    var lastShort: [NodePressure: Milliseconds] = [:]
    for _ in 0..<100 {
      now += .random(in: 1...15_000, using: &dice)
      for signal in available.keys.sorted(by: { $0.rawValue < $1.rawValue }) {
        available[signal] = min(100, max(0, (available[signal] ?? 0) + .random(in: -20...18, using: &dice)))
      }
      if dice.chance(50) { pods.removeAll(where: \.isEnding) }
      var readings: [PressureSignal: SignalReading] = [:]
      for (signal, amount) in available where !dice.chance(5) {
        readings[signal] = SignalReading(available: amount, capacity: 100)
      }
      let isShort = { (signal: PressureSignal, least: Int64) in (readings[signal]?.available ?? 100) < least }
      if isShort(.memory, 30) { lastShort[.memory] = now }
      if isShort(.nodeBytes, 10) { lastShort[.disk] = now }
      if isShort(.processes, 20) { lastShort[.processes] = now }
      let collected = dice.chance(50)
      let actions = plan.step(readings, pods: pods, now: now, hasCollected: collected)
      #expect(actions.count <= 1)
      for (pressure, at) in lastShort where now - at < settings.transition {
        #expect(plan.pressures.contains(pressure), "seed \(seed)")
      }
      for pressure in plan.pressures where lastShort[pressure] == nil {
        Issue.record("seed \(seed): \(pressure) without need")
      }
      if !actions.isEmpty {
        #expect(isShort(.memory, 30) || isShort(.nodeBytes, 10) || isShort(.processes, 20), "seed \(seed)")
      }
      switch actions.first {
      case .collectGarbage?: #expect(!collected && isShort(.nodeBytes, 10), "seed \(seed)")
      case .evict(let uid, _, _)?:
        let others = pods.filter(\.isEnding)
        #expect(others.isEmpty, "seed \(seed): one still ends")
        let index = try #require(pods.firstIndex { $0.uid == uid })
        #expect(!pods[index].isCritical, "seed \(seed)")
        pods[index].isEnding = true
      case nil: break
      }
    }
  }
}
