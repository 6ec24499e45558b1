import KubeValidation
import Testing

@Suite struct PodUpdateTests {
  private let old = pod(
    "activeDeadlineSeconds: 100\ncontainers: [{name: a, image: x}]\ntolerations: [{operator: Exists}]")

  @Test(arguments: [
    "activeDeadlineSeconds: 100\ncontainers: [{name: a, image: 'y:2'}]\ntolerations: [{operator: Exists}]",
    "activeDeadlineSeconds: 50\ncontainers: [{name: a, image: x}]\ntolerations: [{operator: Exists}]",
    "activeDeadlineSeconds: 100\ncontainers: [{name: a, image: x}]\ntolerations: [{key: b, operator: Exists}, {operator: Exists}]",
  ])
  func aFewFieldsMayChange(_ spec: String) throws {
    #expect(try updateErrors(pod(spec), old: old) == [])
  }

  @Test func nothingElseMayChange() throws {
    let new = pod(
      """
      activeDeadlineSeconds: 100
      containers: [{name: a, image: 'y:2', env: [{name: A, value: b}]}]
      tolerations: [{operator: Exists}]
      nodeSelector: {disk: ssd}
      """)
    #expect(
      try updateErrors(new, old: old) == [
        """
        spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,\
        `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing \
        tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)
        + spec.containers[0].env: [{"name":"A","value":"b"}]
        + spec.nodeSelector: {"disk":"ssd"}
        """
      ])
  }

  @Test(arguments: [
    Case(
      "another container",
      pod(
        "activeDeadlineSeconds: 100\ncontainers: [{name: a, image: x}, {name: b, image: x}]\ntolerations: [{operator: Exists}]"
      ),
      "spec.containers: Forbidden: pod updates may not add or remove containers"),
    Case(
      "more time",
      pod("activeDeadlineSeconds: 101\ncontainers: [{name: a, image: x}]\ntolerations: [{operator: Exists}]"),
      "spec.activeDeadlineSeconds: Invalid value: 101: must be less than or equal to previous value"),
    Case(
      "no limit of time", pod("containers: [{name: a, image: x}]\ntolerations: [{operator: Exists}]"),
      "spec.activeDeadlineSeconds: Invalid value: null: must not update from a positive integer to nil value"),
    Case(
      "a toleration less", pod("activeDeadlineSeconds: 100\ncontainers: [{name: a, image: x}]"),
      "spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds"),
  ])
  func whatMayChangeMayNotChangeAnyhow(_ each: Case) throws {
    #expect(try updateErrors(each.yaml, old: old) == each.messages)
  }

  @Test func whatEndedForGoodStaysEnded() throws {
    func withStatus(_ state: String, _ policy: String) -> String {
      pod("restartPolicy: \(policy)") + "\nstatus: {containerStatuses: [{name: app, state: \(state)}]}"
    }
    let ended = "{terminated: {exitCode: 0}}"
    #expect(
      try statusErrors(withStatus("{running: {}}", "Never"), old: withStatus(ended, "Never")) == [
        "status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state"
      ])
    #expect(try statusErrors(withStatus("{running: {}}", "Always"), old: withStatus(ended, "Always")) == [])
  }

  @Test func addressesOfAPodAreOneOfEachFamily() throws {
    let new =
      pod("nodeName: node1")
      + "\nstatus: {podIPs: [{ip: 10.0.0.1}, {ip: 10.0.0.2}], hostIP: 10.1.0.1, hostIPs: [{ip: x}]}"
    #expect(
      try statusErrors(new, old: pod("nodeName: node1")) == [
        """
        status.podIPs: Invalid value: ["10.0.0.1","10.0.0.2"]: may specify no more than one IP for each IP family
        """,
        """
        status.hostIPs[0]: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)
        """,
        "status.hostIPs[0].ip: Invalid value: \"x\": must be equal to `hostIP`",
      ])
  }
}
