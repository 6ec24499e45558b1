import ContainerPlan
import JSON
import OCISpec
import Testing

/// A change of a specification that cannot be done, and what is said about it.
struct RefusedChange: Sendable, CustomTestStringConvertible {
  var testDescription: String
  var message: String
  var change: @Sendable (inout RuntimeSpec) -> Void
}

@Suite struct UserMappingTests {
  static let refused: [RefusedChange] = [
    RefusedChange(
      testDescription: "mappings without a namespace",
      message: "linux.uidMappings: mappings without a user namespace among linux.namespaces"
    ) { $0.linux.namespaces = [] },
    RefusedChange(
      testDescription: "a namespace without mappings",
      message: "linux.uidMappings: a user namespace needs mappings of users and of groups"
    ) { $0.linux.gidMappings = [] },
    RefusedChange(
      testDescription: "joining one",
      message: "linux.namespaces: joining a user namespace by its path is not supported"
    ) { $0.linux.namespaces = [RuntimeSpec.Namespace(.user, path: "/proc/1/ns/user")] },
    RefusedChange(
      testDescription: "a user who is not mapped",
      message: "process.user: user 70000 is not mapped to one of the host"
    ) { $0.process.user.uid = 70_000 },
    RefusedChange(
      testDescription: "other mappings for a volume",
      message: "mounts[6].uidMappings: only the mappings of the pod's user namespace are supported"
    ) { $0.mounts[6].uidMappings[0].hostID = 5 },
    RefusedChange(
      testDescription: "mapped ids of a tmpfs",
      message: "mounts[9].uidMappings: ids of a mount of type tmpfs cannot be mapped"
    ) { $0.mounts.append(.init(destination: "/t", type: "tmpfs", source: "tmpfs", options: ["idmap"])) },
    RefusedChange(
      testDescription: "a part of a tmpfs",
      message: "mounts[9].subPath: only a part of a directory of the host or of an image can be mounted"
    ) {
      $0.mounts.append(.init(destination: "/t", type: "tmpfs", source: "tmpfs"))
      $0.mounts[9].subPath = "a"
    },
    RefusedChange(
      testDescription: "a part that leads out",
      message: "mounts[7].subPath: /../../etc leads out through .."
    ) { $0.mounts[7].subPath = "../../etc" },
    RefusedChange(
      testDescription: "AppArmor where there is none",
      message: "process.apparmorProfile: web: the kernel of this node runs without AppArmor"
    ) { $0.process.apparmorProfile = "web" },
    RefusedChange(
      testDescription: "SELinux where there is none",
      message: "process.selinuxLabel: u:r:t:s0: the kernel of this node runs without SELinux"
    ) { $0.process.selinuxLabel = "u:r:t:s0" },
    RefusedChange(
      testDescription: "a mount label without SELinux",
      message: "linux.mountLabel: u:r:t:s0: the kernel of this node runs without SELinux"
    ) { $0.linux.mountLabel = "u:r:t:s0" },
    RefusedChange(
      testDescription: "an ambient capability that is not permitted",
      message: "process.capabilities.ambient: an ambient capability must be a permitted one as well"
    ) { $0.process.capabilities.ambient = ["CAP_SYS_ADMIN"] },
  ]

  @Test(arguments: refused) func whatCannotBeDoneIsRefusedByItsField(_ entry: RefusedChange) throws {
    var users = PlanCase.users()
    entry.change(&users.spec)
    let error = #expect(throws: PlanError.self) {
      try Plan.container(users.spec, root: users.root, context: users.context)
    }
    #expect(error?.description == entry.message)
  }

  @Test func profilesAndLabelsAreAppliedWhereTheKernelHasThem() throws {
    var users = PlanCase.users()
    users.context.hasAppArmor = true
    users.context.hasSELinux = true
    users.spec.process.apparmorProfile = "web"
    users.spec.process.selinuxLabel = "u:r:t:s0:c1,c2"
    users.spec.linux.mountLabel = "u:object_r:f:s0:c1,c2"
    let text = try Plan.container(users.spec, root: users.root, context: users.context).render()
    #expect(text.contains("run under the AppArmor profile web\n"))
    #expect(text.contains("run with the SELinux label u:r:t:s0:c1,c2\n"))
    #expect(text.contains("set context=u:object_r:f:s0:c1,c2 of root\n"))
    #expect(text.contains("set context=u:object_r:f:s0:c1,c2 of tmpfs\n"))
  }

  @Test func anExecEntersTheUserNamespaceAfterItsLimitsAreSet() throws {
    let users = PlanCase.users()
    var process = users.spec.process
    process.resourceLimits = [.init(type: "RLIMIT_NOFILE", soft: 10, hard: 10)]
    let plan = try Plan.exec(process, seccompProgram: nil, users: try UserMappings.asked(by: users.spec))
    let lines = plan.render().split(separator: "\n").map { $0.drop { $0 != " " }.dropFirst() }
    let limit = try #require(lines.firstIndex { $0.hasPrefix("limit RLIMIT_NOFILE") })
    let join = try #require(lines.firstIndex { $0 == "join the container's namespaces: user" })
    let ids = try #require(lines.firstIndex { $0.hasPrefix("become user 1000:1001") })
    #expect(limit < join && join < ids)
    #expect(lines.contains("give standard input and output to 101000:201001"))
  }

  @Test func aBundlesMappingsAreRead() throws {
    let text = """
      {"ociVersion":"1.2.0","root":{"path":"rootfs"},"process":{"cwd":"/","args":["sh"],"apparmorProfile":"p"},
       "mounts":[{"destination":"/d","source":"/s","options":["rbind","idmap"],
         "uidMappings":[{"containerID":0,"hostID":7,"size":1}]}],
       "linux":{"namespaces":[{"type":"user"}],"uidMappings":[{"containerID":0,"hostID":100000,"size":65536}],
         "gidMappings":[{"containerID":0,"hostID":100000,"size":65536}]}}
      """
    let spec = try RuntimeSpec(json: try JSONValue.parse(text))
    #expect(spec.linux.uidMappings == [RuntimeSpec.IDMapping(containerID: 0, hostID: 100_000, size: 65_536)])
    #expect(spec.mounts[0].uidMappings == [RuntimeSpec.IDMapping(containerID: 0, hostID: 7, size: 1)])
    #expect(spec.process.apparmorProfile == "p")
    #expect(spec.linux.uidMappings.hostID(of: 65_535) == 165_535)
    #expect(spec.linux.uidMappings.hostID(of: 65_536) == nil)
    #expect(throws: RuntimeSpecError.self) {
      try RuntimeSpec(json: try JSONValue.parse(text.replacing("\"size\":65536", with: "\"size\":0")))
    }
  }
}
