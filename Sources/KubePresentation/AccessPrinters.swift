import JSON

/// Roles, quotas, classes, and what extends the API.
enum AccessPrinters {
  static let all: [String: Printer] = [
    "rbac.authorization.k8s.io/rolebindings": bindings, "rbac.authorization.k8s.io/clusterrolebindings": bindings,
    "/resourcequotas": quotas, "scheduling.k8s.io/priorityclasses": priorities,
    "node.k8s.io/runtimeclasses": runtimeClasses,
    "certificates.k8s.io/certificatesigningrequests": certificateRequests,
    "admissionregistration.k8s.io/mutatingwebhookconfigurations": webhooks,
    "admissionregistration.k8s.io/validatingwebhookconfigurations": webhooks,
    "admissionregistration.k8s.io/validatingadmissionpolicies": policies("Validations", "validations"),
    "admissionregistration.k8s.io/mutatingadmissionpolicies": policies("Mutations", "mutations"),
    "admissionregistration.k8s.io/validatingadmissionpolicybindings": policyBindings,
    "admissionregistration.k8s.io/mutatingadmissionpolicybindings": policyBindings,
  ]

  private static let bindings = Printer(
    columns: [
      .name, Column("Role", "What is allowed."), .age, Column("Users", wide: true, "Users who may."),
      Column("Groups", wide: true, "Groups who may."), Column("ServiceAccounts", wide: true, "Accounts who may."),
    ],
    cells: { object, now in
      let role = object["roleRef"] ?? [:]
      func subjects(_ kind: String) -> JSONValue {
        let found = object.list("subjects").filter { $0.text("kind") == kind }
        return .string(
          found.map { kind == "ServiceAccount" ? "\($0.text("namespace"))/\($0.text("name"))" : $0.text("name") }
            .joined(separator: ", "))
      }
      return [
        object.name, .string("\(role.text("kind"))/\(role.text("name"))"), object.age(now), subjects("User"),
        subjects("Group"), subjects("ServiceAccount"),
      ]
    })

  private static let quotas = Printer(
    columns: [
      .name, Column("Request", "What is requested, of what may be."),
      Column("Limit", "What is the limit, of what may be."),
      .age,
    ],
    cells: { object, now in
      let status = object["status"] ?? [:]
      var (requests, limits): ([String], [String]) = ([], [])
      for (name, most) in (status["hard"]?.object?.members ?? []).sorted(by: { $0.key < $1.key }) {
        let used = status["used"]?[name].map(amount) ?? "0"
        let line = "\(name): \(used)/\(amount(most))"
        if name.hasPrefix("limits.") { limits.append(line) } else { requests.append(line) }
      }
      return [
        object.name, .string(requests.joined(separator: ", ")), .string(limits.joined(separator: ", ")),
        object.age(now),
      ]
    })

  private static func amount(_ value: JSONValue) -> String { value.string ?? value.encodedString() }

  private static let priorities = Printer(
    columns: [
      .name, Column("Value", type: "integer", "Higher goes first."),
      Column("Global-Default", type: "boolean", "Whether pods without a class get it."), .age,
      Column("PreemptionPolicy", "Whether its pods push others away."),
    ],
    cells: { object, now in
      [
        object.name, .integer(object.integer("value")), .bool(object["globalDefault"]?.bool == true), object.age(now),
        .string(object.text("preemptionPolicy").orElse("PreemptLowerPriority")),
      ]
    })

  private static let runtimeClasses = Printer(
    columns: [.name, Column("Handler", "What the runtime calls it."), .age],
    cells: { object, now in [object.name, .string(object.text("handler")), object.age(now)] })

  private static let certificateRequests = Printer(
    columns: [
      .name, .age, Column("SignerName", "Who shall sign."), Column("Requestor", "Who asked."),
      Column("RequestedDuration", "How long the certificate shall hold."),
      Column("Condition", "Whether it is approved and issued."),
    ],
    cells: { object, now in
      let spec = object["spec"] ?? [:]
      let seconds = spec["expirationSeconds"]?.integer
      return [
        object.name, object.age(now), .string(spec.text("signerName").orElse("<none>")),
        .string(spec.text("username")), .string(seconds.map { HumanDuration.text(seconds: $0) } ?? "<none>"),
        .string(condition(object["status"] ?? [:])),
      ]
    })

  private static func condition(_ status: JSONValue) -> String {
    let types = Set(status.list("conditions").map { $0.text("type") })
    var words: [String] = []
    if types.contains("Denied") {
      words = ["Denied"]
    } else if types.contains("Approved") {
      words = ["Approved"]
    } else {
      words = ["Pending"]
    }
    if types.contains("Failed") { words.append("Failed") }
    if !status.text("certificate").isEmpty { words.append("Issued") }
    return words.joined(separator: ",")
  }

  private static let webhooks = Printer(
    columns: [.name, Column("Webhooks", type: "integer", "How many there are."), .age],
    cells: { object, now in [object.name, .integer(object.count("webhooks")), object.age(now)] })

  private static func policies(_ title: String, _ field: String) -> Printer {
    Printer(
      columns: [
        .name, Column(title, type: "integer", "How many expressions there are."),
        Column("ParamKind", "What kind of object its parameters are."), .age,
      ],
      cells: { object, now in
        let kind = object["spec"]?["paramKind"].map { "\($0.text("apiVersion"))/\($0.text("kind"))" }
        return [
          object.name, .integer(object["spec"]?.count(field) ?? 0), .string(kind ?? "<unset>"), object.age(now),
        ]
      })
  }

  private static let policyBindings = Printer(
    columns: [.name, Column("PolicyName", "The policy."), Column("ParamRef", "Its parameters."), .age],
    cells: { object, now in
      let reference = object["spec"]?["paramRef"].map { reference in
        let (namespace, name) = (reference.text("namespace"), reference.text("name"))
        return namespace.isEmpty ? name : "\(namespace)/\(name)"
      }
      return [
        object.name, .string(object["spec"]?.text("policyName") ?? ""), .string(reference ?? "<unset>"),
        object.age(now),
      ]
    })
}
