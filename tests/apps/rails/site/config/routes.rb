# SPDX-License-Identifier: MIT
Rails.application.routes.draw do
  root "posts#index"
  get "who", to: "posts#who"
  resources :posts, only: %i[index show]
end
