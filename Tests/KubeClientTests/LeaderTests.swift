import KubeClient
import KubeModel
import Testing

@Suite struct LeaderTests {
  private func step(_ watch: inout LeaseWatch, _ lease: Lease?, _ identity: String, at second: Int) -> LeaseWatch.Step {
    watch.step(
      lease, name: "l", namespace: "kube-system", identity: identity, leaseSeconds: 15, now: .seconds(second),
      wall: MicroTime(microsecondsSinceEpoch: Int64(second) * 1_000_000))
  }

  @Test func aLeaseIsMadeRenewedAndTakenOnlyWhenItHasNotChangedForItsTime() throws {
    var (one, two) = (LeaseWatch(), LeaseWatch())
    guard case .create(let made) = step(&one, nil, "one", at: 100) else {
      Issue.record("no lease is made")
      return
    }
    #expect(made.spec.holderIdentity == "one")
    #expect(step(&two, made, "two", at: 5) == .wait(holder: "one"))
    guard case .write(let renewed) = step(&one, made, "one", at: 102) else {
      Issue.record("not renewed")
      return
    }
    #expect(renewed.spec.leaseTransitions == 0)
    #expect(step(&two, renewed, "two", at: 19) == .wait(holder: "one"))
    #expect(step(&two, renewed, "two", at: 33) == .wait(holder: "one"))
    guard case .write(let taken) = step(&two, renewed, "two", at: 34) else {
      Issue.record("not taken")
      return
    }
    #expect(taken.spec.holderIdentity == "two")
    #expect(taken.spec.leaseTransitions == 1)
    #expect(step(&one, taken, "one", at: 130) == .wait(holder: "two"))
  }

  @Test func aLeaseThatWasGivenUpIsTakenAtOnce() {
    var watch = LeaseWatch()
    var lease = Lease()
    lease.spec.holderIdentity = ""
    guard case .write(let taken) = step(&watch, lease, "two", at: 1) else {
      Issue.record("not taken")
      return
    }
    #expect(taken.spec.holderIdentity == "two")
  }
}
