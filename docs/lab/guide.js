// The guided experiments. Each has a question and steps; each step has a button, actions, and
// sentences that tell what to watch.
//
// The actions of a step are done in order:
//     {create: settings}                   new players
//     {set: settings}                      other settings, the same players
//     {move: distance}                     move all G(z), in the units of x (on a line)
//     {iterate: n}                         n iterations without a picture
//     {run: n, per_frame: p}               n iterations to watch, at most p for each picture
//
// `chained`: a step goes on from the one before it. If that one was not done, it is done first.

const FIGURE1 = {
  data: "gaussian",
  k: 5,
  m: 128,
  momentum: 0,
  lr_d: 0.005,
  lr_g: 0.002,
  penalty: "R1",
  weight: 0.2,
};
const COLLAPSE = {
  data: "ring",
  generator_loss: "minimax",
  momentum: 0.5,
  lr_d: 0.001,
  lr_g: 0.01,
};
const VANISHING = {
  data: "gaussian",
  k: 20,
  optimizer: "momentum",
  momentum: 0,
  lr_d: 0.1,
  lr_g: 0.0003,
  penalty: "none",
};
const CIRCLING = {
  data: "gaussian",
  generator: "affine",
  prior: "normal",
  generator_loss: "minimax",
  m: 128,
  update: "simultaneous",
  optimizer: "momentum",
  momentum: 0.9,
  lr_d: 0.05,
  lr_g: 0.05,
  penalty: "none",
};
const FIT = {
  data: "mixture",
  generator: "affine",
  prior: "normal",
  generator_loss: "minimax",
  k: 3,
  m: 128,
  momentum: 0.5,
  lr_d: 0.005,
  lr_g: 0.005,
  penalty: "none",
};
const CRITIC = {
  data: "mixture",
  objective: "wasserstein",
  generator_loss: "minimax",
  k: 5,
  m: 128,
  momentum: 0,
  lr_g: 0.0005,
};

export const EXPERIMENTS = [
  {
    title: "Figure 1 of the paper",
    chained: true,
    question:
      "The four panels of the paper's Figure 1, each with real training. Press the buttons in order.",
    steps: [
      {
        title: "(a) Near convergence",
        actions: [{create: FIGURE1}, {iterate: 150}, {move: 1}, {set: {train: "D"}}, {iterate: 3}],
        watch:
          "p_g was near p_data. Then all of p_g was moved to the right by 1. D has trained for only "
          + "three iterations since then, so D is still far from the curve D*.",
      },
      {
        title: "(b) D alone",
        actions: [{set: {train: "D", penalty: "none"}}, {run: 400, per_frame: 4}],
        watch:
          "Only D learns. Watch the dashed curve D come to D* = p_data / (p_data + p_g). D* is 1 "
          + "where p_g is 0. In the first chart, V rises to V(G, D*).",
      },
      {
        title: "(c) G alone",
        actions: [
          {set: {train: "G", optimizer: "momentum", momentum: 0, lr_g: 0.002}},
          {run: 40, per_frame: 1},
        ],
        watch:
          "Only G learns. Each G(z) moves in the direction in which D rises. Watch p_g move left, "
          + "to the data. D does not change, but D* does, so D is no longer D*.",
      },
      {
        title: "(d) Both, to the end",
        actions: [{set: {...FIGURE1, train: "both", optimizer: "Adam"}}, {run: 600}],
        watch:
          "Both learn. Watch p_g come close to p_data, and D close to 1/2 where the data are. V comes "
          + "close to −log 4.",
      },
    ],
  },
  {
    title: "Mode collapse",
    chained: true,
    question: "The data have eight modes. Does G find all of them?",
    steps: [
      {
        title: "Minimax, no penalty",
        actions: [{create: {...COLLAPSE, penalty: "none"}}, {run: 700}],
        watch:
          "All samples are in a small part of the plane, and most modes have no sample. D learns to "
          + "reject that part, and G moves the samples to another part. Few modes are covered.",
      },
      {
        title: "Switch R1 on",
        actions: [{set: {penalty: "R1", weight: 1}}, {run: 1200}],
        watch:
          "The same two networks go on, now with the R1 penalty. R1 keeps D's slope small at the "
          + "data, so the colours of D become smooth. Watch the samples spread over most modes.",
      },
      {
        title: "R1 from the start",
        actions: [{create: {...COLLAPSE, penalty: "R1", weight: 1}}, {run: 1500}],
        watch:
          "New networks, with R1 from the first iteration. After about a thousand iterations the "
          + "samples cover most modes, and stay there.",
      },
    ],
  },
  {
    title: "Vanishing gradients",
    question:
      "D makes k = 20 steps for each step of G, and p_g starts far from the data. Can G still learn?",
    steps: [
      {
        title: "Minimax loss",
        actions: [
          {create: {...VANISHING, generator_loss: "minimax", train: "D"}},
          {move: 4.5},
          {iterate: 40},
          {set: {train: "both"}},
          {run: 200, per_frame: 1},
        ],
        watch:
          "D rejects every sample: D(G(z)) is near 0. There the slope of G's loss "
          + "log(1 − D(G(z))) is almost 0. Watch the gradient of G stay below 1. p_g moves little.",
      },
      {
        title: "Non-saturating loss",
        actions: [
          {create: {...VANISHING, generator_loss: "non-saturating", train: "D"}},
          {move: 4.5},
          {iterate: 40},
          {set: {train: "both"}},
          {run: 200, per_frame: 1},
        ],
        watch:
          "The same start and the same learning rates, but G ascends log D(G(z)). At first its "
          + "gradient is more than a hundred times larger. p_g reaches the data within 200 iterations.",
      },
    ],
  },
  {
    title: "Circling",
    chained: true,
    question:
      "G is one affine layer and z is normal, so p_g is a Gaussian. p_g can be equal to p_data. Does "
      + "training come to rest there?",
    steps: [
      {
        title: "No penalty",
        actions: [{create: CIRCLING}, {move: 1}, {run: 700, per_frame: 2}],
        watch:
          "p_g swings from side to side around the data: p_g follows the slope of D, and D changes "
          + "when p_g moves. V swings too, and does not stay at −log 4.",
      },
      {
        title: "Switch R1 on",
        actions: [{set: {penalty: "R1", weight: 4}}, {run: 700, per_frame: 2}],
        watch: "R1 makes the swing smaller and smaller. p_g comes to rest on p_data, D becomes 1/2, and V stays at −log 4.",
      },
    ],
  },
  {
    title: "What a divergence prefers",
    question:
      "p_data has two modes, but the p_g of this G is always one Gaussian. The divergence decides "
      + "which Gaussian.",
    steps: [
      [
        "kl",
        "KL(p_data, p_g)",
        "This KL divergence is large if p_g is small where there are data. So p_g becomes wide "
          + "and covers both modes. p_g also covers the gap between the modes.",
      ],
      [
        "reverse-kl",
        "KL(p_g, p_data)",
        "The reverse KL divergence is large if p_g puts samples where there are no data. So p_g "
          + "covers one mode and leaves the other one out.",
      ],
      [
        "jensen-shannon",
        "Jensen-Shannon",
        "The Jensen-Shannon divergence is between KL and the reverse KL. From this start, p_g "
          + "covers both modes, as with KL.",
      ],
    ].map(([objective, title, watch]) => ({
      title,
      watch,
      actions: [{create: {...FIT, objective}}, {move: 2}, {run: 500}],
    })),
  },
  {
    title: "Wasserstein: clipping or penalty",
    question:
      "A Wasserstein critic must not be steep. Two ways limit its slope. Which one lets G learn? "
      + "In both steps, p_g starts between the modes.",
    steps: [
      {
        title: "Clipping, c = 0.03",
        actions: [
          {create: {...CRITIC, penalty: "clipping", weight: 0.03, lr_d: 0.00015}},
          {move: 2},
          {run: 500},
        ],
        watch:
          "Each weight of the critic stays between −0.03 and 0.03. So the critic is almost flat, and "
          + "V stays near 0. The gradient of G is below 0.01, and p_g does not find the data.",
      },
      {
        title: "Gradient penalty",
        actions: [
          {create: {...CRITIC, penalty: "gradient", weight: 0.1, lr_d: 0.002}},
          {move: 2},
          {run: 500},
        ],
        watch:
          "The penalty brings the critic's slope near 1 between data and samples. The gradient of G "
          + "is large enough to learn. Watch p_g spread to both modes, and V and JSD fall.",
      },
    ],
  },
];
